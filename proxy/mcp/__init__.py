"""The Model Context Protocol over the commands, for assistants: the same queries, nothing of their own.

    one line of JSON --protocol--> call of a tool --tools--> words of a command --> its JSON --protocol--> one line of JSON

`protocol` parses messages and writes responses; `tools` has what is offered, each tool as the command that it runs (both pure);
`proxy.cli.mcp` reads and writes the lines, and runs the commands.
"""
