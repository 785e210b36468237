"""What the page asks for: lists, entries, pictures; and what people say."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any, cast

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from algorithms.scales import CANNOT_TELL
from orchestrator.gallery.agreeing import agreed
from orchestrator.gallery.choosing import chosen, parse_choice
from orchestrator.gallery.guard import Application, Guard
from orchestrator.gallery.index import Entry, GalleryIndex
from orchestrator.ratings.people.opinions import LONGEST_NAME, Opinion, Said

PAGE_FILES = {
    "": ("index.html", "text/html"),
    "gallery.css": ("gallery.css", "text/css"),
    "gallery.js": ("gallery.js", "text/javascript"),
    "grid.js": ("grid.js", "text/javascript"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
MOST_AT_ONCE = 200
"""Entries of one answer."""
LARGEST_BODY = 4096
"""Bytes of an opinion."""
_NEVER = {"Cache-Control": "no-store"}
# Its name is of its bytes, so it never changes.
_EVER = {"Cache-Control": "private, max-age=86400, immutable"}


class Refused(ValueError):
    """What was sent makes no sense; the message is for the page."""


def application(index: GalleryIndex, token: str, port: int) -> Application:
    """The page of a store, behind its guard."""
    return Guard(cast(Application, Gallery(index).application), token, port)


class Gallery:
    """The page's questions, and which answers of the model each open page was shown."""

    def __init__(self, index: GalleryIndex) -> None:
        self._index = index
        self._shown: dict[str, set[str]] = defaultdict(set)
        """Keys by page: who has seen the model's answer no longer rates without knowing it."""
        self._files = {
            path: ((files("orchestrator.gallery") / "page" / name).read_bytes(), kind)
            for path, (name, kind) in PAGE_FILES.items()
        }
        self.application = Starlette(
            routes=[
                *(Route(f"/{path}", self._file) for path in PAGE_FILES),
                Route("/summary", self._answering(self._summary)),
                Route("/list", self._answering(self._list)),
                Route("/entries", self._answering(self._entries)),
                Route("/agreement", self._answering(self._agreement)),
                Route("/pictures/{name}.png", self._picture),
                Route("/opinions", self._say, methods=["POST"]),
            ],
            exception_handlers={404: _nothing, 405: _nothing},
        )

    def _file(self, request: Request) -> Response:
        content, kind = self._files[request.url.path.rpartition("/")[2]]
        return Response(content, media_type=kind, headers=_NEVER)

    def _answering(self, answer: Callable[[Mapping[str, str]], Any]) -> Callable[[Request], Response]:
        # A plain function, which Starlette runs in a thread: reading Parquet would hold up the others.
        def respond(request: Request) -> Response:
            try:
                return JSONResponse(answer(request.query_params), headers=_NEVER)
            except ValueError as error:
                return _told(error)

        return respond

    def _summary(self, _: Mapping[str, str]) -> dict[str, Any]:
        self._index.refresh()
        entries = self._index.entries
        by_task = Counter(one.task for one in entries)
        people = Counter(row["person"] for rows in self._index.opinions().values() for row in rows)
        return {
            "place": self._index.place.title,
            "ratings": sum(one.kind == "rating" for one in entries),
            "failures": sum(one.kind == "failure" for one in entries),
            "tasks": [
                {**vars(task), "compares": task.compares, "number": by_task[place]}
                for place, task in enumerate(self._index.tasks)
            ],
            "models": sorted({one.row["model"] for one in entries}),
            "runs": sorted({one.row["run"] for one in entries}),
            "people": people,
            "longest_name": LONGEST_NAME,
        }

    def _list(self, query: Mapping[str, str]) -> dict[str, Any]:
        given = dict(query)
        person, rating = given.pop("person", ""), given.pop("mode", "") == "rate"
        return {"numbers": [one.number for one in chosen(self._index, parse_choice(given), person, rating)]}

    def _entries(self, query: Mapping[str, str]) -> dict[str, Any]:
        numbers = query.get("numbers", "").split(",")
        known = len(self._index.entries)
        if len(numbers) > MOST_AT_ONCE or not all(one.isdecimal() and int(one) < known for one in numbers):
            raise Refused(f"numbers must be at most {MOST_AT_ONCE} places below {known}, with commas between")
        entries = [self._index.entries[int(one)] for one in numbers]
        said = self._index.opinions()
        if query.get("hidden") == "1":
            return {"entries": [_hidden(one, said.get(one.key, ()), query.get("person", "")) for one in entries]}
        self._shown[query.get("page", "")] |= {one.key for one in entries}
        return {"entries": self._whole(entries, said)}

    def _agreement(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Of one person and the models, on what this person has rated among the entries that are chosen."""
        given = {name: value for name, value in query.items() if name not in ("mode", "rated", "order")}
        person, page = given.pop("person", ""), given.pop("page", "")
        said = self._index.opinions()
        found = agreed(chosen(self._index, parse_choice(given)), self._index.tasks, said, person)
        # Of few questions it tells the model's answers, so whoever rates on this page next would know them.
        self._shown[page].update(*(one.pop("keys") for one in found))
        return {"agreement": found}

    def _whole(self, entries: Sequence[Entry], said: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
        held = {one.number for one in self._index.with_pictures(entries)}
        return [
            {
                **_question(one),
                "pictures": list(one.row["images"]) if one.number in held else [],
                **answer_of(one, said.get(one.key, ())),
            }
            for one in entries
        ]

    def _picture(self, request: Request) -> Response:
        name = request.path_params["name"]
        if not re.fullmatch("[0-9a-f]{64}", name) or not (found := self._index.pictures([name])):
            return Response(status_code=404, headers=_NEVER)
        return Response(found[name], media_type="image/png", headers=_EVER)

    async def _say(self, request: Request) -> Response:
        if request.headers.get("content-type") != "application/json":
            return _told(Refused("an opinion must be sent as application/json"))
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > LARGEST_BODY:
                return _told(Refused(f"an opinion has at most {LARGEST_BODY} bytes"))
        try:
            return JSONResponse(await run_in_threadpool(self._keep, bytes(body)), 201, headers=_NEVER)
        except ValueError as error:
            return _told(error)
        except OSError as error:
            return _told(error, f"it could not be written: {error.strerror or error}. Nothing was kept", 507)

    def _keep(self, body: bytes) -> dict[str, Any]:
        given = json.loads(body)
        types = {"opinion_id": str, "key": str, "person": str, "said": str, "seconds": int | float, "page": str}
        if not isinstance(given, dict) or set(given) != {*types, "level"}:
            raise Refused(f"an opinion has the fields {', '.join(types)}, level")
        for name, kind in types.items():
            if not isinstance(given[name], kind) or isinstance(given[name], bool):
                raise Refused(f"{name} is of the wrong type")
        level = given["level"]
        if level is not None and type(level) is not int:
            raise Refused("level must be a whole number, or null")
        if given["key"] not in self._index.by_key:
            raise Refused("there is no question with this key")
        entry = self._index.by_key[given["key"]]
        said = given["said"]
        if said == "cannot_tell" and self._index.tasks[entry.task].compares:
            # Of a comparison it is one of the answers that the model may give, too.
            said, level = "level", CANNOT_TELL
        earlier = self._index.opinions().get(entry.key, ())
        seen = entry.key in self._shown[given["page"]] or any(row["person"] == given["person"] for row in earlier)
        opinion = Opinion(
            given["opinion_id"], given["person"], cast(Said, said), level, seen, float(given["seconds"])
        )  # fmt: skip
        self._index.say(entry, opinion)
        self._shown[given["page"]].add(entry.key)
        return self._whole([entry], self._index.opinions())[0]


def answer_of(entry: Entry, said: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the model answered, what the simulator knows, and what people said."""
    row = entry.row
    return {
        "level": entry.level,
        "probabilities": row.get("probabilities", []),
        "analysis": row.get("analysis", ""),
        "cause": row.get("cause"),
        "detail": row.get("detail"),
        "attempts": row.get("attempts"),
        "model": row["model"],
        "success": row["success"],
        "doubt": entry.doubt,
        "disagrees": entry.disagrees,
        "opinions": [
            {
                **{name: one[name] for name in ("person", "said", "level", "answer_seen")},
                "at": one["rated_at"].isoformat(timespec="seconds"),
            }
            for one in said
        ],
    }


def _question(entry: Entry) -> dict[str, Any]:
    row = entry.row
    return {
        "number": entry.number,
        "kind": entry.kind,
        "key": entry.key,
        "task": entry.task,
        "pictures": list(row["images"]),
        "frame_note": row["frame_note"],
        "env_step": row["env_step"],
        "run": row["run"],
    }


def _hidden(entry: Entry, said: Sequence[Mapping[str, Any]], person: str) -> dict[str, Any]:
    """The question alone, and how often this person has answered it; no step, which tells how good a policy is."""
    question = _question(entry)
    return {
        **{name: question[name] for name in ("number", "key", "task", "pictures", "frame_note")},
        "mine": sum(row["person"] == person for row in said),
    }


def _told(error: Exception, text: str = "", status: int = 400) -> Response:
    return JSONResponse({"error": text or str(error)}, status, headers=_NEVER)


def _nothing(_: Request, error: Exception) -> Response:
    return Response(status_code=getattr(error, "status_code", 404), headers=_NEVER)
