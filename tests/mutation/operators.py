"""Small wrong turns of a source file, each the kind of mistake that a loss is written with."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

Place = tuple[int, int]
Change = tuple[str, ast.expr]

OPPOSITES = {
    "real": "fake",
    "reals": "fakes",
    "real_scores": "fake_scores",
    "right": "wrong",
    "mean": "sum",
    "min": "max",
    "amin": "amax",
    "cos": "sin",
    "zeros": "ones",
    "zeros_like": "ones_like",
}
OPPOSITES |= {there: here for here, there in OPPOSITES.items()}
OBJECTIVES = ("minimax", "non_saturating", "wasserstein", "hinge")
# Calls of which only the argument is left: x.detach() becomes x.
DROPPED = {"detach", "relu", "abs", "square", "sqrt", "log", "exp", "sigmoid", "softplus", "tanh"}
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


@dataclass(frozen=True)
class Mutant:
    """One wrong version of a file.

    Attributes:
        line: Where, counted from 1.
        what: The kind of mistake.
        before: The expression as it was.
        after: The expression as it is now.
        source: The whole file with the mistake in it.
    """

    line: int
    what: str
    before: str
    after: str
    source: str

    @property
    def name(self) -> str:
        """What was done, in one line."""
        if self.what.endswith("= dropped"):
            return f"{self.what}: {self.before.partition('(')[0]}(...)"
        return f"{self.what}: {self.before} -> {self.after}"

    @property
    def words(self) -> str:
        """The same with the line."""
        return f"line {self.line}: {self.name}"


def mutants(source: str, *, knobs: bool = False) -> list[Mutant]:
    """Return every mutant of a file, each with one mistake.

    Docstrings, annotations, imports, error messages and decorators are left alone. So are, unless
    `knobs` asks for them, the defaults of arguments and arguments that are handed on under their
    own name (``width=width``).

    Args:
        source: The file's text.
        knobs: Change the defaults of arguments, and leave out those that are handed on.
    """
    tree = ast.parse(source)
    found: dict[str, Mutant] = {}
    for node in _expressions(tree, knobs):
        for what, changed in _changes(node):
            if what in _handed_on(node) and not knobs:
                continue
            wrong = _replaced(tree, node, changed)
            text = ast.unparse(wrong)
            before, after = ast.unparse(node), ast.unparse(changed)
            if before != after and text not in found:
                found[text] = Mutant(node.lineno, what, before, after, text)
    return list(found.values())


def _expressions(tree: ast.AST, knobs: bool) -> Iterator[ast.expr]:
    """Yield the expressions of which changes can be seen when the code runs."""
    for child in _children(tree, knobs):
        if isinstance(child, ast.expr):
            yield child
        yield from _expressions(child, knobs)


def _children(node: ast.AST, knobs: bool) -> Iterator[ast.AST]:
    match node:
        case ast.FunctionDef():
            yield from (_numbers(node.args) if knobs else ())
            yield from node.body
        case ast.ClassDef():
            yield from node.body
        case ast.Import() | ast.ImportFrom() | ast.Raise():
            # An error's words are held by tests of errors, not by those of losses.
            return
        case ast.AnnAssign():
            yield from () if node.value is None else (node.value,)
        case ast.Expr(value=ast.Constant()):
            return
        case ast.Call(func=ast.Name(id="isinstance" | "cast")):
            return
        case ast.Assert() | ast.JoinedStr():
            return
        case _:
            yield from ast.iter_child_nodes(node)


def _numbers(arguments: ast.arguments) -> Iterator[ast.expr]:
    for default in [*arguments.defaults, *arguments.kw_defaults]:
        if default is not None:
            yield default


def _changes(node: ast.expr) -> Iterator[Change]:
    for operator in (_signs, _terms, _constants, _comparisons, _names, _calls, _choices):
        yield from operator(node)


def _signs(node: ast.expr) -> Iterator[Change]:
    match node:
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            yield "sign turned", ast.BinOp(left, ast.Sub(), right)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            yield "sign turned", ast.BinOp(left, ast.Add(), right)
        case ast.UnaryOp(op=ast.USub(), operand=operand) if not isinstance(operand, ast.Constant):
            yield "sign turned", operand


def _terms(node: ast.expr) -> Iterator[Change]:
    match node:
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub(), right=right):
            yield "term dropped", left
            yield "term dropped", right
        case ast.BinOp(left=left, op=ast.Mult() | ast.Div(), right=right):
            yield "factor dropped", left
            if isinstance(node.op, ast.Mult):
                yield "factor dropped", right
        case ast.BinOp(left=left, op=ast.Pow()):
            yield "power dropped", left


def _constants(node: ast.expr) -> Iterator[Change]:
    match node:
        case ast.Constant(value=bool(value)):
            yield "truth turned", ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield "constant changed", ast.Constant(value + 1)
            if value:
                yield "constant changed", ast.Constant(value * 2)


def _comparisons(node: ast.expr) -> Iterator[Change]:
    match node:
        case ast.Compare(left=left, ops=[operator], comparators=right):
            yield "comparison turned", ast.Compare(left, [COMPARISONS[type(operator)]()], right)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "comparison turned", operand
        case ast.BoolOp(op=ast.And(), values=values):
            yield "and for or", ast.BoolOp(ast.Or(), values)
        case ast.BoolOp(op=ast.Or(), values=values):
            yield "or for and", ast.BoolOp(ast.And(), values)


def _names(node: ast.expr) -> Iterator[Change]:
    match node:
        case ast.Name(id=name, ctx=ast.Load()):
            if name in OPPOSITES:
                yield "swapped", ast.Name(OPPOSITES[name], ast.Load())
            if name in OBJECTIVES:
                for other in OBJECTIVES:
                    if other != name:
                        yield "another objective", _objective(other)
        case ast.Attribute(value=value, attr=name, ctx=ast.Load()) if name in OPPOSITES:
            yield "swapped", ast.Attribute(value, OPPOSITES[name], ast.Load())


def _objective(name: str) -> ast.expr:
    # Imported where it stands: a paper's file only has the name of its own.
    return ast.parse(f"__import__('training.objectives').objectives.{name}", mode="eval").body


def _calls(node: ast.expr) -> Iterator[Change]:
    match node:
        case ast.Call(func=ast.Attribute(value=value, attr=name), args=arguments):
            library = isinstance(value, ast.Name) and value.id in ("torch", "F", "nn", "functional")
            if name in DROPPED and library and arguments:
                yield "call dropped", arguments[0]
            elif name in DROPPED and not library:
                yield "call dropped", value
    match node:
        case ast.Call(func=function, args=[first, second, *rest], keywords=keywords):
            yield "arguments swapped", ast.Call(function, [second, first, *rest], keywords)
    match node:
        case ast.Call(func=function, args=arguments, keywords=keywords):
            for place, keyword in enumerate(keywords):
                if keyword.arg is not None:
                    left = [*keywords[:place], *keywords[place + 1 :]]
                    yield f"{keyword.arg}= dropped", ast.Call(function, arguments, left)


def _handed_on(node: ast.expr) -> set[str]:
    """Names of the mistakes that leave out an argument handed on under its own name."""
    return {
        f"{keyword.arg}= dropped"
        for keyword in getattr(node, "keywords", ())
        if isinstance(keyword.value, ast.Name) and keyword.value.id == keyword.arg
    }


def _choices(node: ast.expr) -> Iterator[Change]:
    match node:
        case ast.IfExp(body=body, orelse=other):
            yield "always the first", body
            yield "always the second", other


def _replaced(tree: ast.Module, node: ast.expr, changed: ast.expr) -> ast.Module:
    """Return a copy of the tree with one expression exchanged."""
    new = ast.copy_location(copy.deepcopy(changed), node)
    memo: dict[int, object] = {id(node): new}
    # deepcopy takes what the memo says for the node, and copies all around it.
    wrong = copy.deepcopy(tree, memo)
    return ast.fix_missing_locations(wrong)
