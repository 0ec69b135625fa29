package wire

import (
	"encoding/base64"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/aws/smithy-go"
)

// absent reports whether src is left out of an answer: an unset pointer, slice, map or union, or
// an enum without a value. Plain numbers and booleans never are.
func absent(src reflect.Value) bool {
	switch src.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Map:
		return src.IsNil()
	case reflect.String:
		return src.Len() == 0 && src.Type() != stringType // an enum
	}
	return false
}

var (
	stringType = reflect.TypeFor[string]()
	timeType   = reflect.TypeFor[time.Time]()
)

// indirect follows pointers that are not nil.
func indirect(v reflect.Value) reflect.Value {
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	return v
}

// appendJSON writes src as the JSON value that s says. src is not absent, or null is written.
func appendJSON(b []byte, src reflect.Value, s *smithy.Schema) []byte {
	if absent(src) && src.Kind() != reflect.String {
		return append(b, "null"...)
	}
	src = indirect(src)
	switch s.Type() {
	case smithy.ShapeTypeStructure:
		return appendStruct(b, src, s, func(m *member) bool { return true })
	case smithy.ShapeTypeUnion:
		return appendUnion(b, src, s)
	case smithy.ShapeTypeList, smithy.ShapeTypeSet:
		b = append(b, '[')
		for i := range src.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, src.Index(i), s.ListMember())
		}
		return append(b, ']')
	case smithy.ShapeTypeMap:
		return appendMap(b, src, s)
	case smithy.ShapeTypeTimestamp:
		return appendTime(b, src, s)
	case smithy.ShapeTypeBlob:
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, src.Bytes())
		return append(b, '"')
	}
	return appendScalar(b, src)
}

// appendStruct writes the members that keep wants and that are set.
func appendStruct(b []byte, src reflect.Value, s *smithy.Schema, keep func(*member) bool) []byte {
	b = append(b, '{')
	first := true
	p := planOf(s, src.Type())
	for i := range p.members {
		m := &p.members[i]
		f := src.Field(m.field)
		if absent(f) || !keep(m) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(appendString(b, m.json), ':')
		b = appendJSON(b, f, m.schema)
	}
	return append(b, '}')
}

// appendUnion writes a union: the SDK holds it as *XMemberY{Value}.
func appendUnion(b []byte, src reflect.Value, s *smithy.Schema) []byte {
	arm := indirect(src.Elem())
	for name, ms := range s.Members() {
		if arm.Kind() == reflect.Struct && arm.Type().Name() == s.TargetID().Name+"Member"+export(name) {
			b = append(appendString(append(b, '{'), name), ':')
			return append(appendJSON(b, arm.FieldByName("Value"), ms), '}')
		}
	}
	return append(b, "{}"...)
}

func appendMap(b []byte, src reflect.Value, s *smithy.Schema) []byte {
	b = append(b, '{')
	for i, k := range sortedKeys(src) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, k.String()), ':')
		b = appendJSON(b, src.MapIndex(k), s.MapValue())
	}
	return append(b, '}')
}

func sortedKeys(m reflect.Value) []reflect.Value {
	keys := m.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int {
		switch {
		case a.String() < b.String():
			return -1
		case a.String() > b.String():
			return 1
		}
		return 0
	})
	return keys
}

func appendTime(b []byte, src reflect.Value, s *smithy.Schema) []byte {
	if src.Type() != timeType {
		return append(b, "null"...)
	}
	text := formatTime(s, src.Interface().(time.Time), epochSeconds)
	if text[0] >= '0' && text[0] <= '9' || text[0] == '-' {
		if _, err := strconv.ParseFloat(text, 64); err == nil {
			return append(b, text...)
		}
	}
	return appendString(b, text)
}

func appendScalar(b []byte, src reflect.Value) []byte {
	switch {
	case src.Kind() == reflect.String:
		return appendString(b, src.String())
	case src.Kind() == reflect.Bool:
		return strconv.AppendBool(b, src.Bool())
	case src.CanInt():
		return strconv.AppendInt(b, src.Int(), 10)
	case src.CanFloat():
		f := src.Float()
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return appendString(b, floatText(f, 64))
		}
		return strconv.AppendFloat(b, f, 'g', -1, src.Type().Bits())
	}
	return append(b, "null"...)
}

func floatText(f float64, bits int) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return strconv.FormatFloat(f, 'g', -1, bits)
}

const hexDigits = "0123456789abcdef"

// appendString writes s as a JSON string. Unlike encoding/json it leaves <, > and & alone, as
// AWS does.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(append(b, s[start:i]...), "\ufffd"...)
				start = i + 1
			}
			i += size
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		b = appendEscaped(b, c)
		i++
		start = i
	}
	return append(append(b, s[start:]...), '"')
}

func appendEscaped(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// text is src as a header, a label or XML text has it. src is a set scalar.
func text(src reflect.Value, s *smithy.Schema, timeFormat string) string {
	src = indirect(src)
	switch {
	case s.Type() == smithy.ShapeTypeTimestamp && src.Type() == timeType:
		return formatTime(s, src.Interface().(time.Time), timeFormat)
	case s.Type() == smithy.ShapeTypeBlob:
		return base64.StdEncoding.EncodeToString(src.Bytes())
	case src.Kind() == reflect.String:
		return src.String()
	case src.Kind() == reflect.Bool:
		return strconv.FormatBool(src.Bool())
	case src.CanInt():
		return strconv.FormatInt(src.Int(), 10)
	case src.CanFloat():
		return floatText(src.Float(), src.Type().Bits())
	}
	return ""
}
