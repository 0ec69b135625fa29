package pattern

import "strings"

// field is a place in a space-delimited pattern.
type field struct {
	rest bool         // "...": any number of fields
	fits expr[string] // nil: any text
}

// fields reads [field, field...], on messages of that many words. Text in brackets or quotation
// marks is one word.
func (s *scanner) fields() (func([]byte) bool, error) {
	s.take("[")
	var list []field
	for {
		f, err := s.field()
		if err != nil {
			return nil, err
		}
		list = append(list, f)
		if s.space(); s.take(",") {
			continue
		}
		if !s.take("]") {
			return nil, invalid("] is missing at %d", s.at)
		}
		if s.space(); !s.end() {
			return nil, invalid("text after ]")
		}
		return func(m []byte) bool { return aligned(list, words(string(m))) }, nil
	}
}

// field reads "...", a name, a name's conditions or nothing.
func (s *scanner) field() (field, error) {
	if s.space(); s.take("...") {
		return field{rest: true}, nil
	}
	start := s.at
	name := s.name()
	if s.space(); s.peek() == ',' || s.peek() == ']' {
		return field{}, nil
	}
	s.at = start
	e, err := grammar[string]{s, func() (expr[string], error) { return s.fieldCondition(&name) }}.or()
	return field{fits: e}, err
}

func (s *scanner) name() string {
	s.space()
	return strings.TrimSpace(s.until(",]()=!<>&|\"%"))
}

// fieldCondition reads a comparison of the field that is named; the first one names it.
func (s *scanner) fieldCondition(name *string) (expr[string], error) {
	n := s.name()
	if *name == "" {
		*name = n
	}
	if n != *name {
		return nil, invalid("a condition on %q in the place of %q", n, *name)
	}
	op := s.operator()
	if op == "" {
		return nil, invalid("a comparison is missing at %d", s.at)
	}
	o, err := s.comparison(op, " \t\r\n,]()&|")
	return o.fits, err
}

// words splits a message.
func words(m string) (out []string) {
	for {
		m = strings.TrimLeft(m, " \t\r\n")
		if m == "" {
			return out
		}
		if end, ok := closing[m[0]]; ok {
			if i := strings.IndexByte(m[1:], end); i >= 0 {
				out, m = append(out, m[1:i+1]), m[i+2:]
				continue
			}
		}
		i := strings.IndexAny(m, " \t\r\n")
		if i < 0 {
			return append(out, m)
		}
		out, m = append(out, m[:i]), m[i:]
	}
}

// closing is what ends a word by what begins it, where white space does not.
var closing = map[byte]byte{'[': ']', '"': '"'}

// aligned matches fields and words one to one. After a "..." that took too little it takes one
// word more; only the last one has to, as with the asterisks of a glob.
func aligned(list []field, words []string) bool {
	f, w := 0, 0
	lastRest, restWord := -1, 0
	for w < len(words) {
		switch {
		case f < len(list) && list[f].rest:
			lastRest, restWord = f, w
			f++
		case f < len(list) && (list[f].fits == nil || list[f].fits(words[w])):
			f++
			w++
		case lastRest >= 0:
			restWord++
			f, w = lastRest+1, restWord
		default:
			return false
		}
	}
	for f < len(list) && list[f].rest {
		f++
	}
	return f == len(list)
}
