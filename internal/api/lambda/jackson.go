package lambda

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// jsonError says what is wrong with b as JSON, in the words of the parser behind AWS's errors; ""
// if nothing is. AWS: two of its texts were recorded; the others are that parser's own.
func jsonError(b []byte) string {
	if json.Valid(b) && utf8.Valid(b) {
		return ""
	}
	at := len(b)
	var syntax *json.SyntaxError
	if err := json.Unmarshal(b, new(any)); errors.As(err, &syntax) {
		at = max(int(syntax.Offset)-1, 0)
	}
	if bad := invalidUTF8(b); bad >= 0 && bad <= at && quotedAt(b, bad) {
		return located(b, bad, fmt.Sprintf("Invalid UTF-8 start byte 0x%x", b[bad]))
	}
	if at >= len(b)-1 && strings.Contains(syntaxText(syntax), "unexpected end") {
		return located(b, len(b), "Unexpected end-of-input: was expecting closing quote, bracket or brace")
	}
	if token, end := tokenAt(b, at); token != "" {
		return located(b, end-1, fmt.Sprintf("Unrecognized token '%s': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')", token))
	}
	return located(b, at, fmt.Sprintf("Unexpected character (%s): expected a valid value (JSON String, Number, Array, Object or token 'null', 'true' or 'false')", character(b[at])))
}

func syntaxText(err *json.SyntaxError) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// invalidUTF8 is where b ceases to be UTF-8, -1 if nowhere.
func invalidUTF8(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// quotedAt reports whether the byte at i is within a string.
func quotedAt(b []byte, i int) bool {
	in := false
	for j := 0; j < i; j++ {
		switch {
		case in && b[j] == '\\':
			j++
		case b[j] == '"':
			in = !in
		}
	}
	return in
}

// tokenAt is the bare word that begins or goes on at i, and where it ends.
func tokenAt(b []byte, i int) (token string, end int) {
	word := func(c byte) bool {
		return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
	}
	if i >= len(b) || !word(b[i]) {
		return "", i
	}
	from, to := i, i
	for from > 0 && word(b[from-1]) {
		from--
	}
	for to < len(b) && word(b[to]) {
		to++
	}
	return string(b[from:to]), to
}

// character is a byte as the parser shows it.
func character(c byte) string {
	if c < ' ' || c >= 0x7f {
		return fmt.Sprintf("(CTRL-CHAR, code %d)", c)
	}
	return fmt.Sprintf("'%c' (code %d)", c, c)
}

// located adds where a text is wrong.
func located(b []byte, at int, text string) string {
	line := 1 + bytes.Count(b[:at], []byte("\n"))
	column := at - bytes.LastIndexByte(b[:at], '\n')
	return fmt.Sprintf("%s\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: %d, column: %d]", text, line, column)
}
