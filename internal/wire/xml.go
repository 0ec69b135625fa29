package wire

import (
	"reflect"
	"unicode/utf8"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/traits"
)

// xmlWriter appends the XML of awsQuery answers.
type xmlWriter struct{ b []byte }

func (x *xmlWriter) open(name string) {
	x.b = append(append(append(x.b, '<'), name...), '>')
}

func (x *xmlWriter) openNamespace(name, uri string) {
	x.b = append(append(x.b, '<'), name...)
	if uri != "" {
		x.b = append(x.b, ` xmlns="`...)
		x.text(uri)
		x.b = append(x.b, '"')
	}
	x.b = append(x.b, '>')
}

func (x *xmlWriter) close(name string) {
	x.b = append(append(append(x.b, '<', '/'), name...), '>')
}

func (x *xmlWriter) element(name, value string) {
	x.open(name)
	x.text(value)
	x.close(name)
}

// members writes a structure's members that are set.
func (x *xmlWriter) members(src reflect.Value, s *smithy.Schema) {
	p := planOf(s, src.Type())
	for i := range p.members {
		m := &p.members[i]
		if f := src.Field(m.field); !absent(f) {
			x.value(m.xml, f, m.schema)
		}
	}
}

// value writes one element, or one for each item of a flattened list.
func (x *xmlWriter) value(name string, src reflect.Value, s *smithy.Schema) {
	src = indirect(src)
	flat := has[*traits.XMLFlattened](s)
	switch s.Type() {
	case smithy.ShapeTypeStructure:
		x.open(name)
		x.members(src, s)
		x.close(name)
	case smithy.ShapeTypeList, smithy.ShapeTypeSet:
		item := queryName("member", s.ListMember())
		if flat {
			item = name
		} else {
			x.open(name)
		}
		for i := range src.Len() {
			x.value(item, src.Index(i), s.ListMember())
		}
		if !flat {
			x.close(name)
		}
	case smithy.ShapeTypeMap:
		x.mapping(name, src, s, flat)
	default:
		x.element(name, text(src, s, dateTime))
	}
}

func (x *xmlWriter) mapping(name string, src reflect.Value, s *smithy.Schema, flat bool) {
	entry := "entry"
	if flat {
		entry = name
	} else {
		x.open(name)
	}
	for _, k := range sortedKeys(src) {
		x.open(entry)
		x.element(queryName("key", s.MapKey()), k.String())
		x.value(queryName("value", s.MapValue()), src.MapIndex(k), s.MapValue())
		x.close(entry)
	}
	if !flat {
		x.close(name)
	}
}

// text escapes s. What XML cannot hold at all becomes U+FFFD.
func (x *xmlWriter) text(s string) {
	for _, r := range s {
		switch {
		case r == '<':
			x.b = append(x.b, "&lt;"...)
		case r == '>':
			x.b = append(x.b, "&gt;"...)
		case r == '&':
			x.b = append(x.b, "&amp;"...)
		case r == '"':
			x.b = append(x.b, "&quot;"...)
		case r == '\r':
			x.b = append(x.b, "&#xD;"...)
		case r < ' ' && r != '\t' && r != '\n', r == 0xfffe, r == 0xffff:
			x.b = append(x.b, "\ufffd"...)
		default:
			x.b = utf8.AppendRune(x.b, r)
		}
	}
}
