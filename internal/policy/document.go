package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

// A member is one name and value of a JSON object.
type member struct {
	name  string
	value json.RawMessage
}

var errNotObject = errors.New("not an object")

// object reads a JSON object with its members in order and their names as written: encoding/json
// would fold their case and let the last of two win, and what two parsers read differently has no
// place in a policy.
func object(raw []byte) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, errNotObject
	}
	var members []member
	seen := make(map[string]bool)
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := tok.(string)
		if seen[name] {
			return nil, errors.New("two members named " + name)
		}
		seen[name] = true
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil, err
		}
		members = append(members, member{name, v})
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("more than one value")
	}
	return members, nil
}

// array splits a JSON array, or makes a list of anything else.
func array(raw json.RawMessage) ([]json.RawMessage, error) {
	if raw[0] != '[' {
		return []json.RawMessage{raw}, nil
	}
	var list []json.RawMessage
	err := json.Unmarshal(raw, &list)
	return list, err
}

// texts reads a string or a list of strings. With scalars, numbers and booleans count as the
// text they are written with, as condition values may be.
func texts(raw json.RawMessage, scalars bool) ([]string, error) {
	list, err := array(raw)
	if err != nil {
		return nil, err
	}
	out := make([]string, 0, len(list))
	for _, v := range list {
		switch {
		case v[0] == '"':
			var s string
			if err := json.Unmarshal(v, &s); err != nil {
				return nil, err
			}
			if strings.ContainsRune(s, utf8.RuneError) {
				return nil, errors.New("not UTF-8")
			}
			out = append(out, s)
		case scalars && v[0] != '{' && v[0] != '[' && v[0] != 'n':
			out = append(out, string(v))
		default:
			return nil, errors.New("not a string")
		}
	}
	return out, nil
}
