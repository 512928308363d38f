"""The CORS headers of every response of the legacy."""

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpResponse

METHODS = "DELETE, GET, OPTIONS, PATCH, POST, PUT"
HEADERS = "accept, authorization, content-type, user-agent, x-csrftoken, x-requested-with, x-api-key"


class CrossOrigin:
    """Set Vary on every response, respond to preflights, allow any Origin."""

    async_capable = True
    sync_capable = False

    def __init__(self, get_response):
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    async def __call__(self, request):
        preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        response = HttpResponse() if preflight else await self.get_response(request)
        if preflight:
            response["Access-Control-Allow-Headers"] = HEADERS
            response["Access-Control-Allow-Methods"] = METHODS
            response["Access-Control-Max-Age"] = "86400"
        response["Vary"] = "origin"
        if "Origin" in request.headers:
            response["Access-Control-Allow-Origin"] = "*"
        return response


cross_origin = CrossOrigin
