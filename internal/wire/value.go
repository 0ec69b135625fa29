package wire

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"time"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/traits"
)

// A UnionTable holds, by union and member name, the struct the SDK uses for the member.
type UnionTable map[string]map[string]reflect.Type

// Unions makes the table of the SDK's union member structs, such as
// &types.ResourceConfigMemberFoo{}.
func Unions(members ...any) UnionTable {
	u := UnionTable{}
	for _, m := range members {
		t := reflect.TypeOf(m).Elem()
		for i := 1; i+6 < len(t.Name()); i++ {
			if t.Name()[i:i+6] == "Member" {
				union, name := t.Name()[:i], t.Name()[i+6:]
				if u[union] == nil {
					u[union] = map[string]reflect.Type{}
				}
				u[union][name] = t
				break
			}
		}
	}
	return u
}

// decode stores src, a JSON value with json.Number for numbers, into dst as the shape s says.
func (u UnionTable) decode(dst reflect.Value, s *smithy.Schema, src any) error {
	if src == nil {
		return nil
	}
	if dst.Kind() == reflect.Pointer {
		p := reflect.New(dst.Type().Elem())
		if err := u.decode(p.Elem(), s, src); err != nil {
			return err
		}
		dst.Set(p)
		return nil
	}
	switch s.Type() {
	case smithy.ShapeTypeStructure:
		return u.decodeStruct(dst, s, src)
	case smithy.ShapeTypeUnion:
		return u.decodeUnion(dst, s, src)
	case smithy.ShapeTypeList, smithy.ShapeTypeSet:
		return u.decodeList(dst, s, src)
	case smithy.ShapeTypeMap:
		return u.decodeMap(dst, s, src)
	case smithy.ShapeTypeTimestamp:
		t, err := parseTime(s, src)
		if err == nil {
			dst.Set(reflect.ValueOf(t))
		}
		return err
	case smithy.ShapeTypeBlob:
		return decodeBlob(dst, s, src)
	case smithy.ShapeTypeDocument:
		return &SerializationError{Member: s.MemberName(), Message: "documents are not supported"}
	}
	return decodeScalar(dst, s, src)
}

func (u UnionTable) decodeStruct(dst reflect.Value, s *smithy.Schema, src any) error {
	m, ok := src.(map[string]any)
	if !ok {
		return wrongType(s, src)
	}
	for _, f := range planOf(s, dst.Type()).members {
		if v, ok := m[f.json]; ok {
			if err := u.decode(dst.Field(f.field), f.schema, v); err != nil {
				return err
			}
		}
	}
	return nil
}

func (u UnionTable) decodeUnion(dst reflect.Value, s *smithy.Schema, src any) error {
	m, ok := src.(map[string]any)
	if !ok {
		return wrongType(s, src)
	}
	for name, v := range m {
		if v == nil || name == "__type" {
			continue
		}
		ms := s.Member(name) // of a name that may be empty, too
		var arm reflect.Type
		if ms != nil {
			arm = u[s.TargetID().Name][export(name)]
		}
		if arm == nil || !dst.IsNil() {
			return &SerializationError{Member: s.MemberName(), Message: "Unexpected member " + name + " in union"}
		}
		p := reflect.New(arm)
		if err := u.decode(p.Elem().FieldByName("Value"), ms, v); err != nil {
			return err
		}
		dst.Set(p)
	}
	return nil
}

func (u UnionTable) decodeList(dst reflect.Value, s *smithy.Schema, src any) error {
	l, ok := src.([]any)
	if !ok {
		return wrongType(s, src)
	}
	out := reflect.MakeSlice(dst.Type(), len(l), len(l))
	for i, v := range l {
		if err := u.decode(out.Index(i), s.ListMember(), v); err != nil {
			return err
		}
	}
	dst.Set(out)
	return nil
}

func (u UnionTable) decodeMap(dst reflect.Value, s *smithy.Schema, src any) error {
	m, ok := src.(map[string]any)
	if !ok {
		return wrongType(s, src)
	}
	out := reflect.MakeMapWithSize(dst.Type(), len(m))
	for k, v := range m {
		e := reflect.New(dst.Type().Elem()).Elem()
		if err := u.decode(e, s.MapValue(), v); err != nil {
			return err
		}
		out.SetMapIndex(reflect.ValueOf(k).Convert(dst.Type().Key()), e)
	}
	dst.Set(out)
	return nil
}

func decodeBlob(dst reflect.Value, s *smithy.Schema, src any) error {
	str, ok := src.(string)
	if !ok {
		return wrongType(s, src)
	}
	b, err := base64.StdEncoding.DecodeString(str)
	if err != nil {
		return &SerializationError{Member: s.MemberName(), Message: "Invalid base64 in blob"}
	}
	dst.SetBytes(b)
	return nil
}

func decodeScalar(dst reflect.Value, s *smithy.Schema, src any) error {
	switch dst.Kind() {
	case reflect.String:
		if v, ok := src.(string); ok {
			dst.SetString(v)
			return nil
		}
	case reflect.Bool:
		if v, ok := src.(bool); ok {
			dst.SetBool(v)
			return nil
		}
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if v, ok := src.(json.Number); ok {
			if n, ok := whole(v); ok && !dst.OverflowInt(n) {
				dst.SetInt(n)
				return nil
			}
		}
	case reflect.Float32, reflect.Float64:
		if f, ok := float(src); ok {
			dst.SetFloat(f)
			return nil
		}
	}
	return wrongType(s, src)
}

// whole is v as an integer: 3, and 3.0 and 3e2 too, as JSON has one kind of number.
func whole(v json.Number) (int64, bool) {
	if n, err := v.Int64(); err == nil {
		return n, true
	}
	f, err := v.Float64()
	return int64(f), err == nil && f == math.Trunc(f) && math.Abs(f) < 1<<53
}

// float is src as a number. NaN and the infinities are strings in JSON.
func float(src any) (float64, bool) {
	switch v := src.(type) {
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	case string:
		switch v {
		case "NaN":
			return math.NaN(), true
		case "Infinity":
			return math.Inf(1), true
		case "-Infinity":
			return math.Inf(-1), true
		}
	}
	return 0, false
}

// timestamp formats, as Smithy names them.
const (
	epochSeconds = "epoch-seconds"
	dateTime     = "date-time"
	httpDate     = "http-date"
)

// parseTime reads any of the formats: a client that sends another than the trait says is
// understood where AWS might not.
func parseTime(s *smithy.Schema, src any) (time.Time, error) {
	switch v := src.(type) {
	case json.Number:
		if t, ok := fromEpoch(string(v)); ok {
			return t, nil
		}
	case string:
		for _, layout := range []string{time.RFC3339Nano, time.RFC1123} {
			if t, err := time.Parse(layout, v); err == nil {
				return t.UTC(), nil
			}
		}
		if t, ok := fromEpoch(v); ok {
			return t, nil
		}
	}
	return time.Time{}, wrongType(s, src)
}

func fromEpoch(v string) (time.Time, bool) {
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || math.IsNaN(f) || math.Abs(f) > 253402300799 { // the year 9999
		return time.Time{}, false
	}
	return time.UnixMilli(int64(math.Round(f * 1000))).UTC(), true
}

// formatTime writes t in the format of its trait, or in fallback, the format of the place.
func formatTime(s *smithy.Schema, t time.Time, fallback string) string {
	format := fallback
	if f := trait[*traits.TimestampFormat](s); f != nil {
		format = f.Format
	}
	switch format {
	case dateTime:
		return t.UTC().Format("2006-01-02T15:04:05.999Z")
	case httpDate:
		return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
	}
	return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', -1, 64)
}

// wrongType words the error as AWS's JSON services do.
func wrongType(s *smithy.Schema, src any) error {
	e := &SerializationError{Member: s.MemberName()}
	want := typeName(s.Type())
	switch v := src.(type) {
	case map[string]any:
		e.Message = "Start of structure or map found where not expected."
	case []any:
		e.Message = "Start of list found where not expected"
	case string:
		e.Message = "STRING_VALUE can not be converted to " + article(want)
	case json.Number:
		e.Message = "NUMBER_VALUE can not be converted to " + article(want)
	case bool:
		e.Message = map[bool]string{true: "TRUE", false: "FALSE"}[v] + "_VALUE can not be converted to " + article(want)
	default:
		e.Message = fmt.Sprintf("%T can not be converted to %s", src, article(want))
	}
	return e
}

func typeName(t smithy.ShapeType) string {
	switch t {
	case smithy.ShapeTypeBoolean:
		return "Boolean"
	case smithy.ShapeTypeByte, smithy.ShapeTypeShort, smithy.ShapeTypeInteger, smithy.ShapeTypeIntEnum:
		return "Integer"
	case smithy.ShapeTypeLong:
		return "Long"
	case smithy.ShapeTypeFloat:
		return "Float"
	case smithy.ShapeTypeDouble:
		return "Double"
	case smithy.ShapeTypeTimestamp:
		return "Timestamp"
	case smithy.ShapeTypeBlob:
		return "Blob"
	case smithy.ShapeTypeList, smithy.ShapeTypeSet:
		return "List"
	case smithy.ShapeTypeMap:
		return "Map"
	case smithy.ShapeTypeStructure, smithy.ShapeTypeUnion:
		return "Structure"
	}
	return "String"
}

func article(noun string) string {
	if noun == "Integer" {
		return "an " + noun
	}
	return "a " + noun
}
