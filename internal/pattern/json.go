package pattern

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
	"strings"
)

// json reads { condition }, on messages that are JSON objects or arrays.
func (s *scanner) json() (func([]byte) bool, error) {
	s.take("{")
	e, err := grammar[any]{s, s.jsonCondition}.or()
	if err != nil {
		return nil, err
	}
	if s.space(); !s.take("}") {
		return nil, invalid("} is missing at %d", s.at)
	}
	if s.space(); !s.end() {
		return nil, invalid("text after }")
	}
	return func(m []byte) bool {
		v, ok := decode(m)
		return ok && e(v)
	}, nil
}

// decode reads a message that is one JSON object or array. Numbers stay as they are written.
func decode(m []byte) (v any, ok bool) {
	m = bytes.TrimSpace(m)
	if len(m) == 0 || m[0] != '{' && m[0] != '[' {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(m))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return nil, false
	}
	_, err := d.Token()
	return v, err == io.EOF
}

// jsonCondition reads a selector and what it must be.
func (s *scanner) jsonCondition() (expr[any], error) {
	path, err := s.selector()
	if err != nil {
		return nil, err
	}
	s.space()
	if op := s.operator(); op != "" {
		o, err := s.comparison(op, " \t\r\n(){}&|")
		if err != nil {
			return nil, err
		}
		return func(v any) bool {
			v, ok := path.find(v)
			text, scalar := scalarText(v)
			return ok && scalar && o.fits(text)
		}, nil
	}
	switch strings.ToUpper(s.words()) {
	case "IS NULL":
		return path.is(nil), nil
	case "IS TRUE":
		return path.is(true), nil
	case "IS FALSE":
		return path.is(false), nil
	case "EXISTS":
		return func(v any) bool { _, ok := path.find(v); return ok }, nil
	case "NOT EXISTS":
		return func(v any) bool { _, ok := path.find(v); return !ok }, nil
	}
	return nil, invalid("a comparison is missing at %d", s.at)
}

// words reads letters, with one space between words.
func (s *scanner) words() string {
	return strings.Join(strings.Fields(s.until("(){}&|\"%$")), " ")
}

// scalarText is a string, number or boolean as a text.
func scalarText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

// selector is a way into a document: keys and, for arrays, numbers.
type selector []step

type step struct {
	key   string
	index int // of an array, if array
	array bool
}

// selector reads $ and steps: .key, [0], ['key'] and, as AWS writes it too, .['key'].
func (s *scanner) selector() (selector, error) {
	if s.space(); !s.take("$") {
		return nil, invalid("a selector is missing at %d", s.at)
	}
	var out selector
	for {
		switch {
		case s.take(".["), s.take("["):
			st, err := s.bracket()
			if err != nil {
				return nil, err
			}
			out = append(out, st)
		case s.take("."):
			key := s.until(" \t\r\n.[](){}=!<>&|\"%$")
			if key == "" {
				return nil, invalid("a key is missing at %d", s.at)
			}
			out = append(out, step{key: key})
		case len(out) == 0:
			return nil, invalid("a key is missing at %d", s.at)
		default:
			return out, nil
		}
	}
}

// bracket reads what follows an opening bracket.
func (s *scanner) bracket() (step, error) {
	if quote := s.peek(); quote == '\'' || quote == '"' {
		s.at++
		key := s.until(string(quote))
		if !s.take(string(quote)) || !s.take("]") {
			return step{}, invalid("a bracket is not closed at %d", s.at)
		}
		return step{key: key}, nil
	}
	n, err := strconv.ParseUint(s.until("]"), 10, 31)
	if err != nil || !s.take("]") {
		return step{}, invalid("an index is no number at %d", s.at)
	}
	return step{index: int(n), array: true}, nil
}

func (p selector) find(v any) (any, bool) {
	for _, st := range p {
		switch in := v.(type) {
		case map[string]any:
			next, ok := in[st.key]
			if !ok || st.array {
				return nil, false
			}
			v = next
		case []any:
			if !st.array || st.index >= len(in) {
				return nil, false
			}
			v = in[st.index]
		default:
			return nil, false
		}
	}
	return v, true
}

// is wants null, true or false.
func (p selector) is(want any) expr[any] {
	return func(v any) bool {
		v, ok := p.find(v)
		return ok && v == want
	}
}
