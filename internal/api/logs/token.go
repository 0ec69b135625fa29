package logs

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"lambent.dev/lambent/internal/logstore"
)

// nameToken continues a list after a name.
func nameToken(name string) *string {
	s := base64.RawURLEncoding.EncodeToString([]byte(name))
	return &s
}

func readName(token *string) (string, error) {
	if token == nil {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(*token)
	if err != nil || len(b) == 0 {
		return "", invalidToken()
	}
	return string(b), nil
}

func invalidToken() error { return invalid("The specified nextToken is invalid.") }

// digits is a cursor as 56 digits, which is what AWS's ids of events and its tokens have.
func digits(c logstore.Cursor) string { return fmt.Sprintf("3%015d%040d", c.Time, c.Seq) }

func readDigits(s string) (c logstore.Cursor, ok bool) {
	if len(s) != 56 || s[0] != '3' || strings.Trim(s, "0123456789") != "" {
		return c, false
	}
	at, err := strconv.ParseInt(s[1:16], 10, 64)
	if err != nil {
		return c, false
	}
	seq, err := strconv.ParseUint(s[16:], 10, 64)
	return logstore.Cursor{Time: at, Seq: seq}, err == nil
}

// eventToken is a place in a stream, and the direction to read from there.
func eventToken(c logstore.Cursor, backward bool) *string {
	s := "f/" + digits(c) + "/s"
	if backward {
		s = "b/" + digits(c) + "/s"
	}
	return &s
}

func readEventToken(token string) (c logstore.Cursor, backward bool, err error) {
	parts := strings.Split(token, "/")
	if len(parts) != 3 || parts[0] != "f" && parts[0] != "b" || parts[2] != "s" {
		return c, false, invalidToken()
	}
	c, ok := readDigits(parts[1])
	if !ok {
		return c, false, invalidToken()
	}
	return c, parts[0] == "b", nil
}

// sequenceToken is what PutLogEvents answers. AWS: nobody has to send it back any more.
func sequenceToken(seq uint64) *string {
	s := fmt.Sprintf("49%054d", seq)
	return &s
}
