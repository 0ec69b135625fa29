package pattern

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"
)

// An expr is a condition on an event. T is what a condition looks at: a decoded message or one
// field.
type expr[T any] func(T) bool

// grammar reads conditions joined by && and ||, of which && binds tighter, and parentheses.
type grammar[T any] struct {
	s *scanner
	// condition reads one comparison.
	condition func() (expr[T], error)
}

// maxDepth bounds parentheses.
const maxDepth = 100

func (g grammar[T]) or() (expr[T], error) {
	return g.chain("||", g.and, func(a, b bool) bool { return a || b }, true)
}

func (g grammar[T]) and() (expr[T], error) {
	return g.chain("&&", g.atom, func(a, b bool) bool { return a && b }, false)
}

// chain reads operands between operators. decided is the value that makes the rest irrelevant.
func (g grammar[T]) chain(op string, operand func() (expr[T], error), join func(a, b bool) bool, decided bool) (expr[T], error) {
	first, err := operand()
	if err != nil {
		return nil, err
	}
	list := []expr[T]{first}
	for g.s.space(); g.s.take(op); g.s.space() {
		next, err := operand()
		if err != nil {
			return nil, err
		}
		list = append(list, next)
	}
	if len(list) == 1 {
		return first, nil
	}
	return func(v T) bool {
		result := !decided
		for _, e := range list {
			if result = join(result, e(v)); result == decided {
				break
			}
		}
		return result
	}, nil
}

func (g grammar[T]) atom() (expr[T], error) {
	g.s.space()
	if !g.s.take("(") {
		return g.condition()
	}
	if g.s.depth++; g.s.depth > maxDepth {
		return nil, invalid("too many parentheses")
	}
	defer func() { g.s.depth-- }()
	e, err := g.or()
	if err != nil {
		return nil, err
	}
	if g.s.space(); !g.s.take(")") {
		return nil, invalid("a parenthesis is not closed at %d", g.s.at)
	}
	return e, nil
}

// operator reads a comparison's sign, "" if there is none.
func (s *scanner) operator() string {
	for _, op := range []string{"!=", "<=", ">=", "=", "<", ">"} {
		if s.take(op) {
			return op
		}
	}
	return ""
}

// operand is the right side of a comparison.
type operand struct {
	op       string
	text     string
	glob     []string // text between its asterisks; nil if it has none
	regex    *regexp.Regexp
	number   float64
	isNumber bool // and not in quotation marks
}

// comparison reads the right side after its sign. A bare value ends before one of stop.
func (s *scanner) comparison(op, stop string) (operand, error) {
	o := operand{op: op}
	var err error
	s.space()
	switch s.peek() {
	case '%':
		o.regex, err = s.regex()
	case '"':
		o.text, err = s.quoted()
	default:
		if o.text = s.until(stop); o.text == "" || strings.ContainsAny(o.text, `"%`) {
			return o, invalid("a value is missing or malformed at %d", s.at)
		}
		o.number, err = strconv.ParseFloat(o.text, 64)
		o.isNumber, err = err == nil && decimal(o.text), nil
	}
	if err != nil {
		return o, err
	}
	if strings.Contains(o.text, "*") {
		o.glob = strings.Split(o.text, "*")
	}
	if op != "=" && op != "!=" && !o.isNumber {
		return o, invalid("%s compares numbers, and %q is none", op, o.text)
	}
	return o, nil
}

// decimal tells numbers from what Go takes for some: hexadecimals, infinities, underscores.
func decimal(s string) bool { return strings.Trim(s, "+-.0123456789eE") == "" }

// fits compares a text, which is a number if it looks like one and the operand is one too.
func (o *operand) fits(text string) bool {
	switch o.op {
	case "=":
		return o.equal(text)
	case "!=":
		return !o.equal(text)
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !decimal(text) {
		return false
	}
	c := cmp.Compare(n, o.number)
	return c < 0 && o.op[0] == '<' || c > 0 && o.op[0] == '>' || c == 0 && len(o.op) == 2
}

func (o *operand) equal(text string) bool {
	switch {
	case o.regex != nil:
		return o.regex.MatchString(text)
	case o.glob != nil:
		return globbed(o.glob, text)
	case o.isNumber && decimal(text):
		n, err := strconv.ParseFloat(text, 64)
		return err == nil && n == o.number
	}
	return o.text == text
}

// globbed tells whether text is the parts with anything between them.
func globbed(parts []string, text string) bool {
	first, last := parts[0], parts[len(parts)-1]
	if len(text) < len(first)+len(last) || !strings.HasPrefix(text, first) || !strings.HasSuffix(text, last) {
		return false
	}
	text = text[len(first) : len(text)-len(last)]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(text, p)
		if i < 0 {
			return false
		}
		text = text[i+len(p):]
	}
	return true
}
