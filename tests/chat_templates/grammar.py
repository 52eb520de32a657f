"""Random templates from a grammar: valid for the most part, and small enough to end at once."""
import random

VARIABLES = {
    "s": "Hello, Wörld! <b>", "t": "  abc\tdef\n  ", "u": "", "n": 7, "z": 0, "neg": -3, "f": 2.5, "g": 0.1, "big": 12345678901234,
    "yes": True, "no": False, "nil": None, "l": [3, 1, 2], "words": ["b", "A", "c", "a"], "mixed": [1, "x", None, 2.5, True],
    "e": [], "d": {"a": 1, "b": "two", "items": [1, 2], "c": {"x": 1.5, "y": None}}, "ed": {}, "csv": "a,b,,c,d",
    "people": [{"name": "Ann", "age": 31, "tags": ["x", "y"]}, {"name": "bob", "age": 25, "tags": []},
               {"name": "Cy", "age": 31, "city": "Köln"}],
    "messages": [{"role": "system", "content": " Be nice. "}, {"role": "user", "content": "héllo 你好"},
                 {"role": "assistant", "content": "<think>\nhm\n</think>\n\nok", "tool_calls": [
                     {"function": {"name": "f", "arguments": {"q": "x", "k": 1.0}}}]}],
}
NAMES = list(VARIABLES) + ["missing", "i", "x", "loop", "ns"]
TEXTS = ["''", "'a'", "'b'", "\"it's\"", "'x\\ny'", "' pad '", "'ab' 'c'", "'ä€'", "','", "'</think>'", "'%s-%d'", "'a.b'", "'name'", "'0'", "'1.5'"]
NUMBERS = ["0", "1", "2", "3", "-1", "10", "0.5", "2.0", "1e3", "1e-7", "7", "1_000", "0x1f"]
ATTRIBUTES = ["a", "b", "c", "x", "items", "name", "age", "role", "content", "tags", "city", "first", "index", "function",
              "missing", "keys", "values", "upper", "append", "0"]
FILTERS = ["upper", "lower", "trim", "title", "capitalize", "length", "count", "list", "first", "last", "string", "tojson",
           "sort", "unique|list", "reverse|list", "join", "join(', ')", "int", "float", "abs", "round", "round(1)", "default('D')",
           "default('D', true)", "d(1)", "items|list", "dictsort", "sum", "min", "max", "map('upper')|list", "map('string')|join('-')",
           "map(attribute='name')|list", "map(attribute='age', default=0)|list", "select|list", "reject|list",
           "select('string')|list", "reject('none')|list", "selectattr('name')|list", "selectattr('age', 'equalto', 31)|list",
           "selectattr('role', '==', 'user')|list", "rejectattr('tags')|list", "replace('a', 'b')", "replace('l', 'LL', 1)",
           "indent", "indent(2, true)", "indent(width=1, blank=true)", "batch(2)|list", "slice(2)|list", "center(12)",
           "truncate(5)", "truncate(5, true, '', 0)", "wordcount", "escape", "e", "safe", "urlencode", "tojson(indent=2)", "tojson(sort_keys=true)",
           "sort(reverse=true)", "sort(attribute='age')", "sort(attribute='name', case_sensitive=true)", "groupby('age')",
           "attr('upper')", "format(1, 2)", "format('q')", "trim('a')", "int(5)", "int(default=9, base=16)", "float(1.5)",
           "round(method='floor')", "round(1, 'ceil')", "sum(attribute='age')", "map('length')|list", "map('int')|sum",
           "list|length", "tojson|length", "select('gt', 1)|list", "select('in', l)|list", "map('default', 'q')|list", "forceescape"]
TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "true", "false", "mapping",
         "sequence", "iterable", "odd", "even", "divisibleby 3", "divisibleby(2)", "equalto 1", "eq('a')", "ne 2", "in l",
         "in s", "sameas none", "lower", "upper", "gt 1", "lt(2)", "ge 2", "le 2.5", "callable", "escaped", "filter", "test"]
METHODS = ["upper()", "lower()", "strip()", "lstrip()", "rstrip()", "split()", "split(',')", "split(',', 1)", "rsplit(',', 1)",
           "rsplit(none, 1)", "split(maxsplit=1)", "startswith('H')", "endswith('>')", "startswith(('a', 'H'))", "replace('l', 'r')",
           "replace('', '-')", "replace('l', 'r', 1)", "find('l')", "rfind('l')", "index('b')", "count('l')", "title()",
           "capitalize()", "swapcase()", "isdigit()", "isalpha()", "isupper()", "isspace()", "splitlines()", "splitlines(true)",
           "removeprefix('He')", "removesuffix('b>')", "join(['x', 'y'])", "join(words)", "zfill(5)", "ljust(8, '*')",
           "rjust(8)", "center(9)", "partition(',')", "rpartition(' ')", "strip('Ha')", "lstrip(' H')", "format(1, b=2)", "get('a')",
           "get('zz', 5)", "get('c').x", "keys()", "values()", "items()", "keys()|list", "items()|list", "append(1)", "pop()",
           "index(1)", "count(1)", "casefold()", "expandtabs(4)", "find('l', 3)", "count('l', 0, 4)", "startswith('e', 1)", "isalnum()",
           "copy()", "update({})", "istitle()", "isidentifier()"]
OPERATORS = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", ">", "<=", ">=", "in", "not in", "and", "or"]
SPACES = ["", " ", "\n", "  ", "\n  ", " \n", "a", "text ", "x\n", "\t", "\r\n"]


class Writer:
    def __init__(self, rng):
        self.rng = rng

    def pick(self, options):
        return self.rng.choice(options)

    def atom(self):
        kind = self.rng.randrange(10)
        if kind < 5:
            return self.pick(NAMES)
        if kind < 7:
            return self.pick(TEXTS)
        if kind < 9:
            return self.pick(NUMBERS)
        return self.pick(["true", "false", "none", "[]", "{}", "()", "True", "None"])

    def expression(self, depth):
        if depth <= 0:
            return self.atom()
        kind = self.rng.randrange(22)
        sub = lambda: self.expression(depth - 1)
        if kind < 3:
            return self.atom()
        if kind < 6:
            return f"{sub()} {self.pick(OPERATORS)} {sub()}"
        if kind < 9:
            return f"{self.subject(depth)}|{self.pick(FILTERS)}"
        if kind < 11:
            return f"{self.subject(depth)}.{self.pick(METHODS)}"
        if kind == 11:
            return f"{self.subject(depth)}.{self.pick(ATTRIBUTES)}"
        if kind == 12:
            return f"{self.subject(depth)}[{sub()}]"
        if kind == 13:
            bounds = [self.pick(["", "", "1", "-1", "2", "0", "-2", "none"]) for _ in range(self.pick([2, 3]))]
            return f"{self.pick(NAMES)}[{':'.join(bounds)}]"  # not of constants: jinja2 folds errors there to undefined
        if kind == 14:
            return f"{self.subject(depth)} is {self.pick(['', 'not '])}{self.pick(TESTS)}"
        if kind == 15:
            return f"({sub()} if {sub()}{self.pick(['', ' else ' + sub()])})"
        if kind == 16:
            return self.pick(["not ", "-", "+"]) + self.subject(depth)
        if kind == 17:
            return "[" + ", ".join(sub() for _ in range(self.rng.randrange(4))) + "]"
        if kind == 18:
            return "{" + ", ".join(f"{self.pick(TEXTS)}: {sub()}" for _ in range(self.rng.randrange(3))) + "}"
        if kind == 19:
            return f"({sub()}, {sub()})"
        if kind == 20:
            return self.pick(["range(3)", "range(1, 6, 2)", "range(3, 0, -1)|list", "dict(a=1, b=2)", "namespace(a=1).a",
                              "range(5)[1:3]|list", "range(4)|last"])
        return f"{sub()} {self.pick(['<', '==', '>', 'in'])} {sub()} {self.pick(['<', '!=', '>='])} {sub()}"

    def subject(self, depth):
        return self.pick([self.atom(), self.atom(), f"({self.expression(depth - 1)})"])

    def tag(self, text):
        begin, end = self.pick(["{%", "{%", "{%-", "{%+"]), self.pick(["%}", "%}", "-%}", "+%}"])
        return f"{begin} {text} {end}"

    def output(self, depth):
        begin, end = self.pick(["{{", "{{", "{{-"]), self.pick(["}}", "}}", "-}}"])
        return f"{begin} {self.expression(depth)} {end}"

    def block(self, depth):
        parts = []
        for _ in range(self.rng.randrange(1, 4)):
            parts += [self.pick(SPACES), self.statement(depth)]
        return "".join(parts) + self.pick(SPACES)

    def statement(self, depth):
        kind = self.rng.randrange(14)
        if depth <= 0 or kind < 5:
            return self.output(2)
        if kind == 5:
            return (self.tag("if " + self.expression(2)) + self.block(depth - 1)
                    + self.pick(["", self.tag("elif " + self.expression(1)) + self.block(depth - 1)])
                    + self.pick(["", self.tag("else") + self.block(depth - 1)]) + self.tag("endif"))
        if kind < 8:
            source = self.pick(["l", "words", "people", "messages", "d", "d.items()", "'abc'", "range(3)", "e", self.expression(1)])
            target = self.pick(["x", "x", "i", "x, i", "i"])
            extra = self.pick(["", "", "", " if x", " if i is defined and i", " if loop is defined"])
            body = self.block(depth - 1) + self.pick(["", self.loop_use(), self.loop_use(), self.jump()])
            return (self.tag(f"for {target} in {source}{extra}") + body
                    + self.pick(["", "", self.tag("else") + self.block(0)]) + self.tag("endfor"))
        if kind == 8:
            return self.tag(f"set {self.pick(['x', 'i', 'x, i', 'ns.a', 'y'])} = {self.expression(2)}")
        if kind == 9:
            return self.tag("set ns = namespace(a=0, b='')") + self.tag("set ns.a = ns.a + 1") + "{{ ns.a }}"
        if kind == 10:
            return (self.tag(f"set x{self.pick(['', ' | upper', '|trim|length'])}") + self.block(depth - 1) + self.tag("endset"))
        if kind == 11:
            return (self.tag("macro m(p, q=" + self.atom() + ")") + self.block(depth - 1) + "{{ p }}{{ q }}" + self.tag("endmacro")
                    + "{{ m(" + self.pick(["", "1", "s, 2", "q=3", "1, 2, 3", "p=l", "z=1"]) + ") }}")
        if kind == 12:
            return self.pick([self.tag("filter upper") + self.block(depth - 1) + self.tag("endfilter"),
                              self.tag("with x = " + self.expression(1)) + self.block(depth - 1) + self.tag("endwith"),
                              self.tag("generation") + self.block(depth - 1) + self.tag("endgeneration"),
                              self.tag("macro w()") + "[{{ caller() }}]" + self.tag("endmacro")
                              + self.tag("call w()") + self.block(depth - 1) + self.tag("endcall"),
                              "{# " + self.pick(SPACES) + self.pick(["#}", "-#}", "+#}"]),
                              self.tag("raw") + "{{ raw }}\n " + self.tag("endraw")])
        return self.output(3)

    def loop_use(self):
        use = self.pick(["index", "index0", "first", "last", "length", "revindex", "revindex0", "previtem", "nextitem",
                         "cycle('a', 'b')", "depth", "changed(x)", "missing"])
        return "{{ loop." + use + " }}"

    def jump(self):
        return self.tag("if loop.index " + self.pick(["> 1", "== 2"])) + self.tag(self.pick(["break", "continue"])) + self.tag("endif")


def templates(count, seed):
    rng = random.Random(seed)
    writer = Writer(rng)
    for _ in range(count):
        kind = rng.randrange(3)
        yield "{{ " + writer.expression(3) + " }}" if kind == 0 else writer.block(2)
