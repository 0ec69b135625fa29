package wire

import (
	"fmt"
	"reflect"
	"time"

	"github.com/aws/smithy-go"
)

// Of is the schema of an SDK struct whose module ships none: its members are its exported fields,
// under their own names, as in IAM, whose members all begin with a capital. What a request says
// is so decoded in full, and a handler can refuse what it does not honour.
func Of[T any]() *smithy.Schema {
	return derive(reflect.TypeFor[T](), nil)
}

// derive makes the schema of a type. within are the structs around it, to refuse recursion.
func derive(t reflect.Type, within []reflect.Type) *smithy.Schema {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == reflect.TypeFor[time.Time]() {
		return Timestamp
	}
	switch t.Kind() {
	case reflect.String:
		return String
	case reflect.Bool:
		return Boolean
	case reflect.Int32:
		return Integer
	case reflect.Int64:
		return Long
	case reflect.Float64:
		return Double
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return Blob
		}
		return List(derive(t.Elem(), within))
	case reflect.Map:
		return Map(derive(t.Elem(), within))
	case reflect.Struct:
		return deriveStruct(t, within)
	}
	panic(fmt.Sprintf("no schema for %v", t))
}

func deriveStruct(t reflect.Type, within []reflect.Type) *smithy.Schema {
	for _, outer := range within {
		if outer == t {
			panic(fmt.Sprintf("no schema for the recursive %v", t))
		}
	}
	within = append(within, t)
	var members []MemberDef
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() || f.Name == "ResultMetadata" || f.Anonymous {
			continue
		}
		members = append(members, Member(f.Name, derive(f.Type, within)))
	}
	return Struct(t.Name(), members...)
}
