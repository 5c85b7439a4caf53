"""What schemathesis sends, made quick to answer, and what it checks beyond the document."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from pathlib import Path

import schemathesis
from jsonschema_rs import validator_for

# Texts to speak, and how many characters of each the server takes.
TEXTS = {"tts_text": 10_000, "input": 10_000, "text": 200}
VOICES = ("spk_id", "voice", "id")
FILES = ("prompt_wav", "source_wav", "prompt_audio")
ENCODED = ("prompt_audio_base64", "source_audio_base64")
SPOKEN_CHARACTERS = 4
RECORDING = Path(os.environ["COSYSERVE_FUZZ_RECORDING"]).read_bytes()
VOICE = "中文女"
FLAGS = dict.fromkeys(("true", "1", "yes", "on", "y", "t"), True) | dict.fromkeys(
    ("false", "0", "no", "off", "n", "f"), False
)
FLAGS[""] = None


EVENTS = "text/event-stream"
event_validators = []


@schemathesis.hook
def before_load_schema(context, schema):
    """Keeps what the document says of events for `events_are_as_declared`: to schemathesis a schema there describes the
    frame of an event, to this document and to generators of clients its data."""
    for item in schema["paths"].values():
        for operation in item.values():
            content = operation["responses"].get("200", {}).get("content", {})
            if EVENTS in content:
                data = content[EVENTS].pop("schema")
                event_validators.append(validator_for({**data, "components": schema["components"]}))


@schemathesis.hook
def before_call(context, case, kwargs):
    """Shortens texts that are within the limits and puts a known voice and a real recording in every other case: else
    nearly all cases would be refused for the same reasons, and the rest would speak for minutes."""
    for fields in (case.body, case.query, case.path_parameters):
        if isinstance(fields, dict):
            make_quick(fields)


def make_quick(fields):
    for name, limit in TEXTS.items():
        if isinstance(fields.get(name), str) and len(fields[name]) <= limit:
            fields[name] = fields[name][:SPOKEN_CHARACTERS]
    for name in VOICES:
        voice = fields.get(name)
        if isinstance(voice, str) and 0 < len(voice) <= 64 and len(voice) % 2:
            fields[name] = VOICE
    for name in FILES:
        if isinstance(fields.get(name), bytes) and len(fields[name]) % 2:
            fields[name] = RECORDING
    for name in ENCODED:
        if isinstance(fields.get(name), str) and len(fields[name]) % 2:
            fields[name] = b64encode(RECORDING).decode()


@schemathesis.check
def a_refusal_names_its_field(ctx, response, case):
    """A 400 says which field it is about."""
    if response.status_code != 400:
        return
    detail = json.loads(response.content)["detail"]
    names = ["Content-Type", "body", *declared(case)]
    assert any(name in detail for name in names), f"names none of {names}: {detail}"


@schemathesis.check
def only_what_fits_is_accepted(ctx, response, case):
    """What violates the document is refused, but for numbers and flags that come as text and `null` for what may be
    left out: the services that this one replaces take those too."""
    if response.status_code >= 400 or case.media_type != "application/json" or not isinstance(case.body, dict):
        return
    schema = document_of_body(case)
    faults = [error.message for error in validator_for(schema).iter_errors(as_meant(case.body, schema))]
    assert not faults, f"accepted, although {faults}"


@schemathesis.check
def audio_is_audio(ctx, response, case):
    """Speech is never empty nor something else."""
    kind = response.headers.get("content-type", [""])[0]
    if response.status_code != 200 or not kind.startswith("audio/"):
        return
    body = response.content
    assert len(body) > 500, f"{len(body)} bytes of {kind}"
    if kind == "audio/mpeg":
        assert body[0] == 0xFF and body[1] & 0xE0 == 0xE0, body[:8]


@schemathesis.check
def events_are_as_declared(ctx, response, case):
    """The data of every event fits the document."""
    kind = response.headers.get("content-type", [""])[0]
    if response.status_code != 200 or not kind.startswith(EVENTS):
        return
    lines = response.content.decode().splitlines()
    events = [json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:")]
    assert events, "no events"
    for event in events:
        assert any(validator.is_valid(event) for validator in event_validators), event


def document_of_body(case):
    """The schema of the body as it was sent."""
    return next(body.optimized_schema for body in case.operation.body if body.media_type == case.media_type)


def declared(case):
    """Names of all fields that the operation takes."""
    names = [parameter.name for parameter in case.operation.iter_parameters()]
    for body in case.operation.body:
        names += properties(body.optimized_schema)
    return names


def properties(schema):
    """The fields of a schema, which may be one of those that came with it."""
    if "$ref" in schema:
        schema = schema["x-bundled"][schema["$ref"].rsplit("/", 1)[1]]
    return schema.get("properties", {})


def as_meant(body, schema):
    """The body with its scalars as the server reads them."""
    fields = properties(schema)
    meant = {name: scalar(value, fields.get(name, {})) for name, value in body.items()}
    return {name: value for name, value in meant.items() if value is not None}


def scalar(value, schema):
    kinds = schema.get("type", [])
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    try:
        if "boolean" in kinds:
            return FLAGS.get(text, value)
        if "integer" in kinds:
            return int(text) if text else None
        if "number" in kinds:
            return float(text) if text else None
    except ValueError:
        pass
    return value
