// Package pattern evaluates the filter patterns of CloudWatch Logs: terms, JSON selectors and
// space-delimited fields, with regular expressions in each of them.
//
// No pattern makes matching slower than its length times the message's. A Pattern is
// immutable and safe for concurrent use.
package pattern

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// ErrInvalid is returned for what is no pattern.
var ErrInvalid = errors.New("invalid filter pattern")

// Pattern says which messages are wanted.
type Pattern struct {
	match func(message []byte) bool
}

// Match tells whether a message fits. The newline that ends a line is no part of it.
func (p *Pattern) Match(message []byte) bool {
	return p.match(bytes.TrimSuffix(message, []byte("\n")))
}

// Parse reads a pattern. The empty one fits every message.
func Parse(pattern string) (*Pattern, error) {
	s := &scanner{text: strings.TrimSpace(pattern)}
	var match func([]byte) bool
	var err error
	switch {
	case strings.HasPrefix(s.text, "{"):
		match, err = s.json()
	case strings.HasPrefix(s.text, "["):
		match, err = s.fields()
	default:
		match, err = s.terms()
	}
	if err != nil {
		return nil, err
	}
	return &Pattern{match}, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// terms reads words, phrases and regular expressions: all without a sign must be in the message,
// none of those with a minus, and any one of those with a question mark.
// AWS: question marks count only if no term is without a sign, says the documentation ("can't be
// combined"); terms are found inside of words too.
func (s *scanner) terms() (func([]byte) bool, error) {
	var all, none, some []func([]byte) bool
	for s.space(); !s.end(); s.space() {
		list := &all
		switch {
		case s.take("?"):
			list = &some
		case s.take("-"):
			list = &none
		}
		term, err := s.term()
		if err != nil {
			return nil, err
		}
		*list = append(*list, term)
	}
	if len(all) > 0 {
		some = nil
	}
	return func(m []byte) bool {
		for _, fits := range none {
			if fits(m) {
				return false
			}
		}
		for _, fits := range all {
			if !fits(m) {
				return false
			}
		}
		for _, fits := range some {
			if fits(m) {
				return true
			}
		}
		return len(some) == 0
	}, nil
}

func (s *scanner) term() (func([]byte) bool, error) {
	switch {
	case s.peek() == '%':
		re, err := s.regex()
		if err != nil {
			return nil, err
		}
		return re.Match, nil
	case s.peek() == '"':
		phrase, err := s.quoted()
		if err != nil {
			return nil, err
		}
		return contains(phrase), nil
	}
	word := s.until(" \t\r\n")
	if word == "" || strings.Contains(word, `"`) {
		return nil, invalid("a term is missing or has a quotation mark inside at %d", s.at)
	}
	return contains(word), nil
}

func contains(term string) func([]byte) bool {
	b := []byte(term)
	return func(m []byte) bool { return bytes.Contains(m, b) }
}

// scanner reads a pattern from left to right.
type scanner struct {
	text    string
	at      int
	regexes int
	depth   int
}

func (s *scanner) end() bool { return s.at >= len(s.text) }

// peek is the next byte, 0 at the end.
func (s *scanner) peek() byte {
	if s.end() {
		return 0
	}
	return s.text[s.at]
}

func (s *scanner) space() {
	for !s.end() && strings.IndexByte(" \t\r\n", s.text[s.at]) >= 0 {
		s.at++
	}
}

// take passes over a text if it is next.
func (s *scanner) take(text string) bool {
	if !strings.HasPrefix(s.text[s.at:], text) {
		return false
	}
	s.at += len(text)
	return true
}

// until reads up to one of some bytes or the end.
func (s *scanner) until(stop string) string {
	n := strings.IndexAny(s.text[s.at:], stop)
	if n < 0 {
		n = len(s.text) - s.at
	}
	s.at += n
	return s.text[s.at-n : s.at]
}

// quoted reads a text between quotation marks, in which a backslash takes the next mark or
// backslash as it is.
func (s *scanner) quoted() (string, error) {
	var b strings.Builder
	for i := s.at + 1; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '"':
			s.at = i + 1
			return b.String(), nil
		case c == '\\' && i+1 < len(s.text) && (s.text[i+1] == '"' || s.text[i+1] == '\\'):
			i++
			b.WriteByte(s.text[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", invalid("a quotation mark is not closed")
}

// maxRegexes is how many a pattern may have.
const maxRegexes = 2

// regexBytes are those of regular expressions beside letters and digits. AWS: documented, but for
// the space, which its examples have.
const regexBytes = `:_#=@/;,- ^$?[]{}|\*+.`

// regex reads an expression between percent signs.
func (s *scanner) regex() (*regexp.Regexp, error) {
	s.at++
	expr := s.until("%")
	if !s.take("%") {
		return nil, invalid("a regular expression is not closed")
	}
	if s.regexes++; s.regexes > maxRegexes {
		return nil, invalid("more than %d regular expressions", maxRegexes)
	}
	for i := range len(expr) {
		c := expr[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(regexBytes, c) >= 0) {
			return nil, invalid("%q is not supported in regular expressions", c)
		}
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, invalid("%v", err)
	}
	return re, nil
}
