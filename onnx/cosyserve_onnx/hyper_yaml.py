"""Reads the checkpoint's yaml as data.

Official checkpoints use HyperPyYAML, whose tags build and call Python objects (`!new:a.b.C`, `!name:a.b.f`,
`!apply:a.b.f`). Here a tag is recorded, never followed: `!new:a.b.C {x: 1}` becomes `Tagged("new", "a.b.C", {"x": 1})`.
References (`!ref <x>`, `!ref <x> * <y>`) are resolved, arithmetic included.
"""

from __future__ import annotations

import ast
import operator
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .errors import ExportError

MAX_DEPTH = 64


@dataclass
class Tagged:
    """A tagged node: `kind` (new, name, apply, ...), `target` (dotted path) and its arguments."""

    kind: str
    target: str
    value: Any

    @property
    def class_name(self) -> str:
        """Last part of the dotted path."""
        return self.target.rsplit(".", 1)[-1]

    def get(self, key: str, default: Any = None) -> Any:
        """Keyword argument `key`."""
        return self.value.get(key, default) if isinstance(self.value, dict) else default

    def __getitem__(self, key: str) -> Any:
        if not isinstance(self.value, dict) or key not in self.value:
            raise ExportError(f"the yaml's {self.target} has no field {key!r}")
        return self.value[key]


@dataclass
class _Ref:
    text: str


class _Loader(yaml.SafeLoader):
    """The safe loader plus recorded tags."""


def _construct_any(loader: _Loader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


def _construct_tagged(loader: _Loader, suffix: str, node: yaml.Node) -> Any:
    if suffix in ("ref", "copy"):
        return _Ref(str(loader.construct_scalar(node)))
    kind, _, target = suffix.partition(":")
    return Tagged(kind, target, _construct_any(loader, node))


_Loader.add_multi_constructor("!", _construct_tagged)
# YAML 1.1 reads 1e-06 as a string because it has no dot; the checkpoints mean the number.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)

_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_REFERENCE = re.compile(r"<([^<>]+)>")


class _Resolver:
    """Replaces references by what they name."""

    def __init__(self, root: dict[str, Any]):
        self._root = root

    def resolve(self, value: Any, depth: int = 0) -> Any:
        if depth > MAX_DEPTH:
            raise ExportError("the yaml's references go in circles")
        if isinstance(value, _Ref):
            return self._reference(value.text.strip(), depth + 1)
        if isinstance(value, Tagged):
            return Tagged(value.kind, value.target, self.resolve(value.value, depth + 1))
        if isinstance(value, dict):
            return {k: self.resolve(v, depth + 1) for k, v in value.items()}
        if isinstance(value, list):
            return [self.resolve(v, depth + 1) for v in value]
        return value

    def _reference(self, text: str, depth: int) -> Any:
        whole = _REFERENCE.fullmatch(text)
        if whole:
            return self.resolve(self._lookup(whole[1]), depth)
        names: dict[str, Any] = {}

        def placeholder(match: re.Match) -> str:
            name = f"ref{len(names)}"
            names[name] = self.resolve(self._lookup(match[1]), depth)
            return name

        expression = _REFERENCE.sub(placeholder, text)
        if any(not isinstance(v, (int, float)) for v in names.values()):
            # HyperPyYAML joins text: `<dir>/file`.
            return _REFERENCE.sub(lambda m: str(self.resolve(self._lookup(m[1]), depth)), text)
        try:
            return _arithmetic(ast.parse(expression, mode="eval").body, names)
        except SyntaxError as error:
            raise ExportError(f"the yaml's reference {text!r} is not understood") from error

    def _lookup(self, path: str) -> Any:
        value: Any = self._root
        for part in re.findall(r"[^.\[\]]+", path):
            value = value.value if isinstance(value, Tagged) else value
            if isinstance(value, dict) and part in value:
                value = value[part]
            elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            else:
                raise ExportError(f"the yaml refers to <{path}>, which it does not define")
        return value


def _arithmetic(node: ast.AST, names: dict[str, Any]) -> Any:
    """Evaluates + - * / // % over numbers; anything else is refused."""
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_arithmetic(node.left, names), _arithmetic(node.right, names))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_arithmetic(node.operand, names)
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return node.value
    raise ExportError("the yaml holds a reference that is not arithmetic")


def loads(text: str) -> dict[str, Any]:
    """The resolved yaml document `text`."""
    try:
        root = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ExportError(f"the yaml is not well-formed: {error}") from error
    if not isinstance(root, dict):
        raise ExportError("the yaml holds no mapping")
    return _Resolver(root).resolve(root)


def load(path: Path) -> dict[str, Any]:
    """The resolved yaml file `path`."""
    return loads(Path(path).read_text(encoding="utf-8"))
