"""The nodes of a graph that serving runs, and where the strings that they read come from."""

from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

_PASSES_ON = ("Identity", "PlaceholderWithDefault", "StopGradient")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_LONGEST_CHAIN = 100  # of nodes that pass a tensor on
_INIT_SIGNATURE = "__saved_model_init_op"
_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")


class Place(NamedTuple):
    """A node and the function it is in.

    Attributes:
        function: name of the function; empty for the graph itself.
        node: `NodeDef`.
    """

    function: str
    node: Any


class Walk:
    """The nodes that are reached from some tensors: those they depend on, and all nodes of the functions called.

    Args:
        graph: `MetaGraphDef`.
        names: of tensors or operations of the graph.

    Attributes:
        places: the nodes, each a `Place`.
    """

    def __init__(self, graph: Any, names: Iterable[str]) -> None:
        library = graph.graph_def.library
        self._nodes = {node.name: node for node in graph.graph_def.node}
        self._functions = {function.signature.name: function for function in library.function}
        self._alike = _functions_alike(library.function)
        self._calls: dict[str, list[tuple[Place, bool]]] = {}  # function -> (where, whether inputs are its arguments)
        self.places: list[Place] = []
        self._seen: set[tuple[str, str]] = set()
        waiting = [Place("", self._nodes[each]) for each in map(node_name, names) if each in self._nodes]
        while waiting:
            place = waiting.pop()
            if (place.function, place.node.name) in self._seen:
                continue
            self._seen.add((place.function, place.node.name))
            self.places.append(place)
            waiting += self._next(place)

    def _next(self, place: Place) -> Iterator[Place]:
        if not place.function:
            for name in map(node_name, place.node.input):
                if name in self._nodes:
                    yield Place("", self._nodes[name])
        for name, is_call in self._called(place.node):
            is_new = name not in self._calls
            self._calls.setdefault(name, []).append((place, is_call))
            if is_new:
                yield from (Place(name, node) for node in self._functions[name].node_def)

    def _called(self, node: Any) -> Iterator[tuple[str, bool]]:
        """`(function, whether the node's inputs are its arguments)`."""
        if node.op in self._functions:  # TensorFlow 1 called functions by name
            yield node.op, True
        for value in node.attr.values():
            for function in [value.func, *value.list.func]:
                for name in self._alike.get(function.name, [function.name]):
                    if name in self._functions:
                        yield name, node.op in _CALLS

    def comes_from(self, place: Place, tensor: str, fed: Collection[str]) -> bool:
        """Whether a tensor is always one of those that the server feeds, unchanged.

        Args:
            place: the node that reads the tensor.
            tensor: one of its inputs.
            fed: names of nodes of the graph.
        """
        return self._comes_from(place.function, tensor, fed, frozenset())

    def _comes_from(self, function: str, tensor: str, fed: Collection[str], seen: frozenset[tuple[str, str]]) -> bool:
        name = node_name(tensor)
        if (function, name) in seen or len(seen) > _LONGEST_CHAIN:
            return False
        seen |= {(function, name)}
        if not function and name in fed:
            return True
        arguments = [each.name for each in self._functions[function].signature.input_arg] if function else []
        if name in arguments:
            return all(
                is_call
                and len(inputs := [each for each in where.node.input if not each.startswith("^")]) == len(arguments)
                and self._comes_from(where.function, inputs[arguments.index(name)], fed, seen)
                for where, is_call in self._calls[function]
            )
        nodes = {node.name: node for node in self._functions[function].node_def} if function else self._nodes
        node = nodes.get(name)
        if node is None or not node.input:
            return False
        if node.op == "ReadVariableOp" and not function:
            return all(
                self._comes_from("", value, fed, seen) for value in self._assigned(node_name(node.input[0])) or [""]
            )
        if node.op not in _PASSES_ON:
            return False
        return self._comes_from(function, node.input[0], fed, seen)

    def _assigned(self, handle: str) -> list[str]:
        """The tensors that are assigned to a variable of the graph; TensorFlow 2 keeps the path of an asset in one.

        Empty if there may be others: a function or another handle can reach the variable too.
        """
        handles = [node for node in self._nodes.values() if node.op == "VarHandleOp"]
        inner = [node for function in self._functions.values() for node in function.node_def]
        names = {_variable(node) for node in handles if node.name == handle}
        alike = [node for node in [*handles, *inner] if node.op == "VarHandleOp" and _variable(node) in names]
        values = []
        for node in self._nodes.values():
            if handle not in map(node_name, node.input) or node.op in ("ReadVariableOp", "VarIsInitializedOp"):
                continue
            if node.op != "AssignVariableOp" or node_name(node.input[0]) != handle:
                return []
            values.append(node.input[1])
        return values if len(alike) == 1 else []


def served_tensors(graph: Any) -> list[str]:
    """Names of the tensors that a client can ask for: the outputs of all signatures, which operations are not."""
    names = []
    for key, signature in graph.signature_def.items():
        for info in signature.outputs.values():
            if key == _INIT_SIGNATURE and ":" not in info.name:
                continue
            sparse = info.coo_sparse  # which TensorFlow 1 allowed
            names += [info.name, sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name]
    return names


def initialisers(graph: Any) -> list[str]:
    """Names of the operations that a server runs when it has restored the variables."""
    names = []
    if _INIT_SIGNATURE in graph.signature_def:
        names += [info.name for info in graph.signature_def[_INIT_SIGNATURE].outputs.values()]
    for key in _INIT_COLLECTIONS:
        if key in graph.collection_def:
            names += graph.collection_def[key].node_list.value
    return names


def _functions_alike(functions: Iterable[Any]) -> dict[str, list[str]]:
    """For each function the ones with the same `api_implements`, by which TensorFlow may replace it."""
    groups: dict[bytes, list[str]] = {}
    for function in functions:
        if function.attr["api_implements"].s if "api_implements" in function.attr else b"":
            groups.setdefault(function.attr["api_implements"].s, []).append(function.signature.name)
    return {name: names for names in groups.values() for name in names}


def _variable(node: Any) -> bytes:
    """The name of the variable of a handle: handles of one name share it."""
    return (node.attr["shared_name"].s if "shared_name" in node.attr else b"") or node.name.encode()


def node_name(tensor: str) -> str:
    """The name of the node of a tensor `NODE:NUMBER`, or of a control input `^NODE`."""
    return tensor.lstrip("^").split(":")[0]
