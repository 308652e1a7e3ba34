"""Small wrong turns of a source file, each the kind of mistake that a loss is written with."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

SWITCH = "__wrong__"
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
# What only checks that things fit, shows them, or says where they are: no loss is another for it.
SILENT = ("strict", "repr", "device")
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
        runs: It stands in the body of a function, so that it is met when that is called; else when
            the file is imported.
    """

    line: int
    what: str
    before: str
    after: str
    source: str
    runs: bool = False

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


def mutants(source: str, *, only: Sequence[str] = ()) -> list[Mutant]:
    """Return every mutant of a file, each with one mistake.

    Docstrings, annotations, imports, error messages and decorators are left alone.

    Args:
        source: The file's text.
        only: Names of functions, classes and methods (``Class.method``) to change; empty for all.

    Raises:
        ValueError: The file has none of a name.
    """
    tree = ast.parse(source)
    found: dict[str, Mutant] = {}
    for node, runs, what, changed in _mistakes(tree, only):
        text = ast.unparse(_replaced(tree, node, changed))
        before, after = ast.unparse(node), ast.unparse(changed)
        if before != after and text not in found:
            found[text] = Mutant(node.lineno, what, before, after, text, runs)
    return list(found.values())


def switched(source: str, wrong: Sequence[Mutant], *, only: Sequence[str] = ()) -> str:
    """Return the file with all mutants that run in it, each behind a switch.

    Mutant ``wrong[i]`` is on while the module's global `SWITCH` is i; it must be there from the
    start, and at -1 all are off.

    Args:
        source: The file's text.
        wrong: Mutants of it.
        only: As it was for `mutants`.
    """
    tree = ast.parse(source)
    numbers = {mutant.source: number for number, mutant in enumerate(wrong) if mutant.runs}
    behind: dict[int, list[tuple[int, ast.expr]]] = {}
    for node, _, _, changed in _mistakes(tree, only):
        number = numbers.pop(ast.unparse(_replaced(tree, node, changed)), None)
        if number is not None:
            behind.setdefault(id(node), []).append((number, copy.deepcopy(changed)))
    whole = _Switches(behind).visit(tree)
    return ast.unparse(ast.fix_missing_locations(whole))


class _Switches(ast.NodeTransformer):
    """Puts the changes of each expression before it, as choices."""

    def __init__(self, behind: Mapping[int, Sequence[tuple[int, ast.expr]]]) -> None:
        self._behind = behind

    def visit(self, node: ast.AST) -> ast.AST:
        changes = self._behind.get(id(node), ())
        chosen: ast.AST = self.generic_visit(node)
        for number, changed in changes:
            on = ast.Compare(ast.Name(SWITCH, ast.Load()), [ast.Eq()], [ast.Constant(number)])
            chosen = ast.IfExp(on, changed, chosen)  # type: ignore[arg-type]
        return chosen


def _mistakes(
    tree: ast.Module, only: Sequence[str]
) -> Iterator[tuple[ast.expr, bool, str, ast.expr]]:
    """Yield expressions, whether they run when called, the kind of mistake, and the mistake."""
    for node, runs in _expressions(_named(tree, only) if only else tree):
        for what, changed in _changes(node):
            yield node, runs, what, changed


def _named(tree: ast.Module, names: Sequence[str]) -> ast.Module:
    """Return a module of these functions, classes and methods alone."""
    chosen: list[ast.stmt] = []
    for name in names:
        place: ast.AST = tree
        for part in name.split("."):
            for child in ast.iter_child_nodes(place):
                if isinstance(child, ast.FunctionDef | ast.ClassDef) and child.name == part:
                    place = child
                    break
            else:
                raise ValueError(f"only: there is no {name}; give names that the file has")
        assert isinstance(place, ast.stmt)
        chosen.append(place)
    return ast.Module(chosen, [])


def _expressions(tree: ast.AST, runs: bool = False) -> Iterator[tuple[ast.expr, bool]]:
    """Yield the expressions of which changes can be seen, and whether when called."""
    for child, called in _children(tree):
        if isinstance(child, ast.expr):
            yield child, runs or called
        yield from _expressions(child, runs or called)


def _children(node: ast.AST) -> Iterator[tuple[ast.AST, bool]]:
    """Yield what is below a node, and whether it is the body of a function."""
    match node:
        case ast.FunctionDef():
            yield from ((default, False) for default in _defaults(node.args))
            yield from ((statement, True) for statement in node.body)
        case ast.Lambda():
            yield from ((default, False) for default in _defaults(node.args))
            yield node.body, True
        case ast.ClassDef():
            yield from ((statement, False) for statement in node.body)
        case ast.Import() | ast.ImportFrom() | ast.Raise():
            # An error's words are held by tests of errors, not by those of losses.
            return
        case ast.AnnAssign():
            yield from () if node.value is None else ((node.value, False),)
        case ast.Expr(value=ast.Constant()):
            return
        case ast.Call(func=ast.Name(id="isinstance" | "cast")):
            return
        case ast.Assert() | ast.JoinedStr():
            return
        case ast.keyword(arg=name) if name in SILENT:
            return
        case _:
            yield from ((child, False) for child in ast.iter_child_nodes(node))


def _defaults(arguments: ast.arguments) -> Iterator[ast.expr]:
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
        case ast.Constant(value=int(value) | float(value)) if abs(value) >= 1e4:
            # It stands for what is beyond all else, such as -1e4 for a masked logit: of twice as
            # much, or a little more, the exponential is the same zero.
            yield "constant changed", ast.Constant(0 * value)
        case ast.Constant(value=int(value) | float(value)):
            yield "constant changed", ast.Constant(value + 1)
            # What only keeps a root or a division from zero may as well be twice as small.
            if abs(value) > 1e-6:
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
                # The tests run where there is but one device.
                if keyword.arg not in (None, *SILENT):
                    left = [*keywords[:place], *keywords[place + 1 :]]
                    yield f"{keyword.arg}= dropped", ast.Call(function, arguments, left)


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
