"""Eight users of Kinto, each with a bucket of its own and rights in the next one's, who send mixed requests for as long as they have to.

Everything that a user does follows from a seed and from the responses. Each bucket has one request at a time, as a user who waits for
his responses sends them; different buckets run at once.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientSession, ClientTimeout, encode_basic_auth

USERS = 8
TAGS = ("tea", "mate", "rooibos")
THINK_S = 0.01
"""Pause after each response: requests of a bucket that touch in time could not be told apart."""


@dataclass
class Bucket:
    """The part of a bucket's contents that its users know.

    Attributes:
        records: last known time of each record, by collection and id.
    """

    name: str
    collections: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    records: dict[tuple[str, str], int] = field(default_factory=dict)
    in_use: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class Response:
    """A response: status and decoded body."""

    status: int
    body: Any


@dataclass
class User:
    """One user and its requests.

    Attributes:
        principal: the name by which permissions are given to it.
    """

    number: int
    session: ClientSession
    url: str
    own: Bucket
    shared: Bucket
    random: random.Random
    done: Counter[str]
    principal: str = ""
    serial: int = 0

    @property
    def authorization(self) -> str:
        """The field with its name and password."""
        return encode_basic_auth(f"user{self.number}", "secret")

    async def send(self, bucket: Bucket, method: str, path: str, body: object = None, **headers: str) -> Response:
        """Send one request of a bucket, alone, and count it."""
        async with bucket.in_use:
            async with self.session.request(
                method,
                f"{self.url}/v1/{path}",
                data=None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode(),
                headers={
                    "Authorization": self.authorization,
                    "X-Bucket": bucket.name,
                    "Content-Type": "application/json",
                    **headers,
                },
            ) as response:
                text = await response.read()
            self.done[f"{method} {response.status}"] += 1
            assert response.status < 500, (method, path, response.status, text)
            await asyncio.sleep(THINK_S)
        return Response(response.status, json.loads(text) if text else None)

    async def settle(self) -> None:
        """Fill the bucket with what the other requests need."""
        await self.put_collection()
        await self.put_group()
        for _ in range(3):
            await self.put_record()

    async def create(self) -> None:
        """Learn the own principal, and create the bucket."""
        async with self.session.get(f"{self.url}/v1/", headers={"Authorization": self.authorization}) as hello:
            self.principal = (await hello.json())["user"]["id"]
        response = await self.send(self.own, "PUT", f"buckets/{self.own.name}", {"data": {"owner": self.number}})
        assert response.status == 201, response

    async def act(self) -> None:
        """Send the next request."""
        action = self.random.choices(list(ACTIONS), list(ACTIONS.values()))[0]
        await action(self)

    def _new(self, kind: str) -> str:
        self.serial += 1
        return f"{kind}-{self.number}-{self.serial}"

    def _bucket(self) -> Bucket:
        return self.shared if self.random.random() < 0.15 and self.shared.records else self.own

    def _collection(self, bucket: Bucket) -> str:
        return self.random.choice(bucket.collections)

    def _record(self, bucket: Bucket) -> tuple[str, str]:
        return self.random.choice(list(bucket.records) or [(bucket.collections[0], "nothing")])

    def _data(self) -> dict[str, object]:
        rng = self.random
        return {
            "tag": rng.choice(TAGS),
            "n": rng.randrange(100),
            "price": rng.choice([1.5, 2, "2.0", 1e3]),
            "note": rng.choice(["", "häuser ☕", "a" * 300, None]),
            "nested": {"list": [rng.randrange(3) for _ in range(rng.randrange(4))], "on": rng.random() < 0.5},
        }

    async def put_record(self) -> None:
        bucket = self._bucket()
        collection, identity = self._collection(bucket), self._new("r")
        if self.random.random() < 0.3 and bucket.records:
            collection, identity = self._record(bucket)
        body: dict[str, object] = {"data": self._data()}
        if self.random.random() < 0.3:
            body["permissions"] = {"read": ["system.Everyone", "system.Authenticated"]}
        path = f"buckets/{bucket.name}/collections/{collection}/records/{identity}"
        self._keep(bucket, collection, await self.send(bucket, "PUT", path, body))

    async def post_record(self) -> None:
        bucket = self._bucket()
        collection = self._collection(bucket)
        path = f"buckets/{bucket.name}/collections/{collection}/records"
        body: dict[str, object] = {"data": self._data()}
        if self.random.random() < 0.5:
            body["permissions"] = {"write": ["system.Authenticated", f"/buckets/{bucket.name}/groups/g"]}
        self._keep(bucket, collection, await self.send(bucket, "POST", path, body))

    async def patch_record(self) -> None:
        bucket = self._bucket()
        collection, identity = self._record(bucket)
        path = f"buckets/{bucket.name}/collections/{collection}/records/{identity}"
        stamp = bucket.records.get((collection, identity), 1) - self.random.choice([0, 0, 0, 1])
        headers = {"If-Match": f'"{stamp}"'} if self.random.random() < 0.5 else {}
        if self.random.random() < 0.2:
            body: object = [{"op": "replace", "path": "/data/n", "value": self.random.randrange(100)}]
            headers["Content-Type"] = "application/json-patch+json"
        else:
            body = {"data": {"n": self.random.randrange(100)}}
        self._keep(bucket, collection, await self.send(bucket, "PATCH", path, body, **headers))

    async def share_record(self) -> None:
        collection, identity = self._record(self.own)
        path = f"buckets/{self.own.name}/collections/{collection}/records/{identity}"
        principals = [f"basicauth:{self.random.randrange(10)}", "system.Everyone", self.principal]
        body = {"permissions": {"read": principals[: self.random.randrange(4)], "write": [self.principal]}}
        self._keep(self.own, collection, await self.send(self.own, "PATCH", path, body))

    async def delete_record(self) -> None:
        bucket = self._bucket()
        collection, identity = self._record(bucket)
        response = await self.send(
            bucket, "DELETE", f"buckets/{bucket.name}/collections/{collection}/records/{identity}"
        )
        if response.status == 200:
            bucket.records.pop((collection, identity), None)

    async def get_record(self) -> None:
        bucket = self._bucket()
        collection, identity = self._record(bucket)
        stamp = bucket.records.get((collection, identity), 1)
        headers = {"If-None-Match": f'"{stamp}"'} if self.random.random() < 0.3 else {}
        await self.send(bucket, "GET", f"buckets/{bucket.name}/collections/{collection}/records/{identity}", **headers)

    async def list_records(self) -> None:
        bucket = self._bucket()
        stamps = list(bucket.records.values()) or [0]
        query = self.random.choice(
            [
                "",
                f"?tag={self.random.choice(TAGS)}",
                "?min_n=50&_sort=-n,id",
                f"?_since={self.random.choice(stamps)}",
                "?_limit=3&_sort=-last_modified",
                "?_fields=n,tag",
                "?in_n=1,2,3,4,5",
                "?like_note=haus",
                "?not_tag=tea&nested.on=true",
                "?contains_nested.list=[1]",
            ]
        )
        await self.send(bucket, "GET", f"buckets/{bucket.name}/collections/{self._collection(bucket)}/records{query}")

    async def delete_records(self) -> None:
        collection, tag = self._collection(self.own), self.random.choice(TAGS)
        path = f"buckets/{self.own.name}/collections/{collection}/records?tag={tag}&max_n=40"
        response = await self.send(self.own, "DELETE", path)
        for record in response.body["data"]:
            self.own.records.pop((collection, record["id"]), None)

    async def put_collection(self) -> None:
        name = self._new("c")
        body = {"data": {"color": self.random.choice(TAGS)}, "permissions": {"write": ["system.Authenticated"]}}
        response = await self.send(self.own, "PUT", f"buckets/{self.own.name}/collections/{name}", body)
        assert response.status == 201, response
        self.own.collections.append(name)

    async def patch_collection(self) -> None:
        path = f"buckets/{self.own.name}/collections/{self._collection(self.own)}"
        await self.send(self.own, "PATCH", path, {"data": {"color": self.random.choice(TAGS)}})

    async def delete_collection(self) -> None:
        if len(self.own.collections) < 3:
            return await self.put_collection()
        name = self.own.collections.pop(self.random.randrange(1, len(self.own.collections)))
        self.own.records = {key: stamp for key, stamp in self.own.records.items() if key[0] != name}
        await self.send(self.own, "DELETE", f"buckets/{self.own.name}/collections/{name}")
        return None

    async def put_group(self) -> None:
        name = self.random.choice(["g", "h", self._new("g")])
        members = self.random.sample(["basicauth:1", "basicauth:2", "basicauth:3", self.principal], 3)
        response = await self.send(
            self.own, "PUT", f"buckets/{self.own.name}/groups/{name}", {"data": {"members": members}}
        )
        assert response.status in (200, 201), response
        if name not in self.own.groups:
            self.own.groups.append(name)

    async def patch_group(self) -> None:
        name = self.random.choice(self.own.groups or ["none"])
        members = [f"basicauth:{n}" for n in range(self.random.randrange(4))]
        await self.send(self.own, "PATCH", f"buckets/{self.own.name}/groups/{name}", {"data": {"members": members}})

    async def delete_group(self) -> None:
        name = self.random.choice(self.own.groups or ["none"])
        response = await self.send(self.own, "DELETE", f"buckets/{self.own.name}/groups/{name}")
        if response.status == 200:
            self.own.groups.remove(name)

    async def patch_bucket(self) -> None:
        principals = self.random.sample(["basicauth:1", "basicauth:2", "system.Authenticated"], 2)
        body = {"data": {"n": self.random.randrange(100)}, "permissions": {"read": principals}}
        await self.send(self.own, "PATCH", f"buckets/{self.own.name}", body)

    async def read_something(self) -> None:
        tail = self.random.choice(
            ["", "/collections", "/groups", f"/collections/{self._collection(self.own)}", "/groups/g"]
        )
        await self.send(self.own, "GET", f"buckets/{self.own.name}{tail}")

    async def read_history(self) -> None:
        query = self.random.choice(["", "?resource_name=record&_limit=5", "?action=delete", "?resource_name=group"])
        await self.send(self.own, "GET", f"buckets/{self.own.name}/history{query}")

    async def batch(self) -> None:
        collection = self._collection(self.own)
        path = f"/v1/buckets/{self.own.name}/collections/{collection}/records"
        requests: list[dict[str, object]] = [
            {"method": "PUT", "path": f"{path}/{self._new('r')}", "body": {"data": self._data()}}
            for _ in range(self.random.randrange(1, 5))
        ]
        requests.append({"method": "POST", "path": path, "body": {"data": self._data()}})
        requests.append({"method": "GET", "path": f"{path}/nothing"})
        response = await self.send(self.own, "POST", "batch", {"requests": requests})
        for part in response.body["responses"]:
            if part["status"] in (200, 201):
                data = part["body"]["data"]
                self.own.records[collection, data["id"]] = data["last_modified"]

    async def send_wrong(self) -> None:
        path = f"buckets/{self.own.name}/collections/{self._collection(self.own)}/records"
        match self.random.randrange(4):
            case 0:
                await self.send(self.own, "POST", path, b"{not json")
            case 1:
                await self.send(self.own, "PUT", f"{path}/bad%20id", {"data": {}})
            case 2:
                await self.send(self.shared, "DELETE", f"buckets/{self.shared.name}/groups/g")
            case _:
                await self.send(self.own, "GET", f"{path}/nothing")

    def _keep(self, bucket: Bucket, collection: str, response: Response) -> None:
        if response.status in (200, 201):
            data = response.body["data"]
            bucket.records[collection, data["id"]] = data["last_modified"]


ACTIONS: dict[Callable[[User], Awaitable[None]], int] = {
    User.put_record: 16,
    User.post_record: 12,
    User.patch_record: 12,
    User.share_record: 8,
    User.delete_record: 6,
    User.get_record: 10,
    User.list_records: 12,
    User.delete_records: 2,
    User.put_collection: 2,
    User.patch_collection: 3,
    User.delete_collection: 2,
    User.put_group: 3,
    User.patch_group: 3,
    User.delete_group: 1,
    User.patch_bucket: 2,
    User.read_something: 6,
    User.read_history: 5,
    User.batch: 5,
    User.send_wrong: 4,
}


async def play(url: str, *, requests: int, seed: int) -> Counter[str]:
    """Send at least this many requests; return their numbers by method and status."""
    done: Counter[str] = Counter()
    buckets = [Bucket(f"b{n}") for n in range(USERS)]
    async with ClientSession(timeout=ClientTimeout(total=120)) as session:
        users = [
            User(n, session, url, buckets[n], buckets[(n + 1) % USERS], random.Random(f"{seed} {n}"), done)
            for n in range(USERS)
        ]

        async def live(user: User) -> None:
            await user.settle()
            while done.total() < requests:
                await user.act()

        for user in users:
            # Kinto refuses one of two buckets that are created in the same millisecond.
            await user.create()
        async with asyncio.TaskGroup() as tasks:
            for user in users:
                tasks.create_task(live(user), name=f"user-{user.number}")
    return done


async def share_with(url: str, principal: str) -> None:
    """Create a bucket, and give one principal the right to read it."""
    async with ClientSession(timeout=ClientTimeout(total=120)) as session:
        bucket = Bucket("lost")
        user = User(0, session, url, bucket, bucket, random.Random(0), Counter())
        await user.create()
        await user.send(bucket, "PATCH", "buckets/lost", {"permissions": {"read": [principal, "basicauth:kept"]}})
