# SPDX-License-Identifier: MPL-2.0
"""Finds the guards of a C file and what the file looks like without each of them.

It knows tokens, brackets and the binding strength of the few operators that matter here, and relies on the house style:
bodies always have braces. What is not a guard is left alone: logging and its arguments, assertions, the bounds of loops
over a whole array.
"""
import collections
import re

Guard = collections.namedtuple("Guard", "start end text replacement what line function")

TOKEN = re.compile(
    r"""(?P<skip>\s+|/\*.*?\*/|//[^\n]*|^[ ]*\#(?:[^\n]*\\\n)*[^\n]*)
      |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      |(?P<name>[A-Za-z_]\w*)
      |(?P<number>\d[\w.]*)
      |(?P<operator>->|\+\+|--|<<=|>>=|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|\.\.\.|.)""",
    re.X | re.S | re.M)
Token = collections.namedtuple("Token", "kind text start end")

OPENING, CLOSING = "([{", ")]}"
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
BOUNDARIES = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
ASSIGNMENTS = ("=", "+=", "-=", "*=", "/=", "|=", "&=", "^=")
# An expression ends at these, unless they are inside brackets.
ENDS = (",", ";", "{", "}", "return", "case", ":", "?") + ASSIGNMENTS
# Only words for the log or for an operator, or only there to stop at a broken invariant.
UNTOUCHED = ("core_log", "say", "assert", "va_start", "va_end", "vsnprintf")
# Services whose guard is in the choice of the function: what would stand there if nobody had thought of it.
SERVICES = {"core_sure_now": "f->now.wall", "core_wait_mclt": "(int64_t)f->record.mclt",
            "core_grant_mclt": "(int64_t)f->record.mclt"}


def tokens_of(text):
    return [Token(m.lastgroup, m.group(), m.start(), m.end()) for m in TOKEN.finditer(text) if m.lastgroup != "skip"]


class Source:
    def __init__(self, text):
        self.text = text
        self.tokens = tokens_of(text)
        self.guards = []
        self._match_brackets()
        self._enums()
        self._functions()
        self.untouched = self._spans_of(UNTOUCHED)

    # ---- What is where -----------------------------------------------------------------------------------------------

    def _match_brackets(self):
        self.match, stack = {}, []
        for i, t in enumerate(self.tokens):
            if t.kind == "operator" and t.text in OPENING:
                stack.append(i)
            elif t.kind == "operator" and t.text in CLOSING:
                self.match[i] = stack.pop()
                self.match[self.match[i]] = i

    def _enums(self):
        """Each enumerator of this file to all of its enumeration."""
        self.enumerators = {}
        for i, t in enumerate(self.tokens):
            if t.text == "enum" and self.tokens[i + 2].text == "{":
                names = [u.text for u in self.tokens[i + 3:self.match[i + 2]] if u.kind == "name"]
                self.enumerators.update((name, names) for name in names)

    def _functions(self):
        """(first token of the body, its last, name, returns bool), and the tables outside of functions likewise."""
        self.functions, self.tables = [], []
        i, begin = 0, 0
        while i < len(self.tokens):
            text = self.tokens[i].text
            if text == "{":
                head = self.tokens[begin:i]
                if self.tokens[i - 1].text == ")":
                    name = self.tokens[self.match[i - 1] - 1].text
                    words = [t.text for t in head[:2 + next(n for n, t in enumerate(head) if t.text == name)]]
                    self.functions.append((i, self.match[i], name, "bool" in words))
                elif self.tokens[i - 1].text == "=":
                    name = next(t.text for t, u in zip(head, head[1:]) if u.text in ("[", "="))
                    self.tables.append((i, self.match[i], name))
                i = self.match[i]
                begin = i + 1
            elif text == ";":
                begin = i + 1
            elif text in ("(", "["):
                i = self.match[i]
            i += 1

    def _spans_of(self, names):
        spans = []
        for i, t in enumerate(self.tokens[:-1]):
            if t.text in names and self.tokens[i + 1].text == "(":
                spans.append((i, self.match[i + 1]))
        return spans

    def _line(self, position):
        return self.text.count("\n", 0, position) + 1

    # ---- Expressions -------------------------------------------------------------------------------------------------

    def _left(self, i, ends):
        """The first token of the operand that ends before token i."""
        while i > 0:
            text = self.tokens[i - 1].text
            if text in (")", "]"):
                i = self.match[i - 1]
            elif text in ends or text in OPENING:
                return i
            else:
                i -= 1
        return i

    def _right(self, i, ends):
        """The last token of the operand that begins with token i."""
        while True:
            text = self.tokens[i].text
            if text in OPENING:
                i = self.match[i]
            elif text in ends or text in CLOSING:
                return i - 1
            i += 1

    def _top_level(self, first, last):
        """The tokens from first to last that are in no brackets."""
        i = first
        while i <= last:
            yield self.tokens[i]
            i = self.match[i] + 1 if self.tokens[i].text in OPENING else i + 1

    def _is_condition(self, first, last):
        words = [t.text for t in self._top_level(first, last)]
        return "?" not in words and (words[0] == "!" or any(w in COMPARISONS + ("&&", "||") for w in words))

    def _arguments(self, opening):
        """(first, last) token of each argument of the call whose bracket is token `opening`."""
        found, first = [], opening + 1
        while first < self.match[opening]:
            last = self._right(first, (",",))
            found.append((first, last))
            first = last + 2
        return found

    # ---- Guards ------------------------------------------------------------------------------------------------------

    def _add(self, first, last, replacement, what, function):
        if any(a < first and last <= b for a, b in self.untouched):
            return
        if replacement == "0" and self.tokens[first].text == "say" and self.match[first + 1] == last:
            return  # words, and false anyway
        start, end = self.tokens[first].start, self.tokens[last].end
        text = self.text[start:end]
        # The lines stay where they are: an assertion's object code holds its own.
        self.guards.append(Guard(start, end, " ".join(text.split()), replacement + "\n" * text.count("\n"), what,
                                 self._line(start), function))

    def _condition(self, first, last, what, function):
        for value in ("0", "1"):
            self._add(first, last, value, what, function)

    def _text(self, first, last):
        return self.text[self.tokens[first].start:self.tokens[last].end]

    def _at_token(self, i, function, is_bool, bounds):
        t, following = self.tokens[i], self.tokens[i + 1].text
        if t.text in ("if", "while") and following == "(":
            self._condition(i + 2, self.match[i + 1] - 1, t.text, function)
        elif t.text in ("&&", "||"):
            neutral, ends = ("1", ENDS + ("&&", "||")) if t.text == "&&" else ("0", ENDS + ("||",))
            self._add(self._left(i, ends), i - 1, neutral, f"operand of {t.text}", function)
            self._add(i + 1, self._right(i + 1, ends), neutral, f"operand of {t.text}", function)
        elif t.text == "?":
            self._condition(self._left(i, ENDS), i - 1, "?:", function)
        elif t.text in BOUNDARIES and i not in bounds:
            first, last = self._left(i, ENDS + ("&&", "||")), self._right(i + 1, ENDS + ("&&", "||"))
            replacement = self._text(first, i - 1) + " " + BOUNDARIES[t.text] + " " + self._text(i + 1, last)
            self._add(first, last, replacement.replace("\n", " "), "boundary", function)
        elif t.text in ("=", "return") and following not in ("true", "false", "{", ";"):
            last = self._right(i + 1, (";", ","))
            declared = t.text == "=" and self.tokens[i - 2].text == "bool"
            sure = (declared or (t.text == "return" and is_bool)) and "?" not in [
                u.text for u in self._top_level(i + 1, last)]
            if sure or self._is_condition(i + 1, last):
                self._condition(i + 1, last, t.text, function)
        elif t.text in ("time_max", "time_min", "time_add") and following == "(":
            for first, last in self._arguments(i + 1)[:1 if t.text == "time_add" else 2]:
                self._add(i, self.match[i + 1], self._text(first, last).replace("\n", " "), t.text, function)
        elif t.text in SERVICES and following == "(":
            self._add(i, self.match[i + 1], SERVICES[t.text], "service", function)
        elif t.text == "case":
            colon = self._right(i + 1, (":",)) + 1
            self._add(i, colon, "", "case", function)
        elif (t.kind == "name" and following == "(" and t.text not in UNTOUCHED + ("if", "for", "while", "switch")
              and (self.tokens[i - 1].text in (";", "{", "}") or self._is_label(i - 1))
              and self.tokens[self.match[i + 1] + 1].text == ";"):
            self._add(i, self.match[i + 1], "", "call", function)

    def _is_label(self, colon):
        before = [t.text for t in self.tokens[colon - 2:colon + 1]]
        return before[2] == ":" and (before[1] == "default" or before[0] == "case")

    def _bounds(self, first, last):
        """The comparisons that only bound a loop: of its own variable, in the head of a for."""
        found = set()
        for i in range(first, last):
            if self.tokens[i].text == "for":
                head = range(i + 2, self.match[i + 1])
                found.update(n for n in head if self.tokens[n].text in ("<", "<=") and self.tokens[n - 2].text in ";&&")
        return found

    def _in_table(self, first, last, table):
        for i in range(first, last):
            t = self.tokens[i]
            name = table + self._designators(i, first)
            if self.tokens[i - 1].text == "[":
                continue
            for other in self.enumerators.get(t.text, ()):
                if other != t.text:
                    self._add(i, i, other, "table", name)
            if self.tokens[i - 1].text == "{" and t.kind == "name" and self.tokens[i + 2].kind == "string":
                # A row of the state machine; without it the state stays, and what stayed is unexpected.
                self._add(i, i, "UNEXPECTED" if t.text == "STAY" else "STAY", "row", name)

    def _enclosing(self, i, first):
        """The bracket that token i is in; `first` if that is the table's own."""
        while i > first and self.tokens[i - 1].text not in OPENING:
            i = self.match[i - 1] if self.tokens[i - 1].text in CLOSING else i - 1
        return max(i - 1, first)

    def _designators(self, i, first):
        """The cell of a table, "[ROW][COLUMN]", that token i is in."""
        found = ""
        while i > first:
            if self.tokens[i].text == "=" and self.tokens[i - 1].text == "]":
                found = "".join(t.text for t in self.tokens[self.match[i - 1]:i]) + found
                i = self._enclosing(self.match[i - 1], first)
            else:
                i = self.match[i - 1] if self.tokens[i - 1].text in CLOSING and self.tokens[i].text != "=" else i - 1
        return found

    def all_guards(self):
        for first, last, name, is_bool in self.functions:
            bounds = self._bounds(first, last)
            for i in range(first + 1, last):
                self._at_token(i, name, is_bool, bounds)
        for first, last, name in self.tables:
            self._in_table(first, last, name)
        unique = {(g.start, g.end, g.replacement): g for g in reversed(self.guards)}
        return sorted(unique.values())


def find(text):
    return Source(text).all_guards()


def without(text, guard):
    return text[:guard.start] + guard.replacement + text[guard.end:]
