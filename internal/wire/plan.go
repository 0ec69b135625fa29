package wire

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/traits"
)

// A plan is what the codec has to know about a structure's schema and the Go struct for it,
// found once.
type plan struct {
	members []member // by name
}

type member struct {
	schema *smithy.Schema
	name   string // Smithy's
	json   string // name in a JSON body
	xml    string // name in XML and in query keys
	field  int    // index of the struct's field
	in     location
	key    string // name of the header, header prefix or query parameter
}

// location is where restJson1 has a member.
type location int

const (
	inBody location = iota
	inLabel
	inQuery
	inQueryParams
	inHeader
	inPrefixHeaders
	inPayload
	inStatus
)

type planKey struct {
	schema *smithy.Schema
	typ    reflect.Type
}

var plans sync.Map // planKey -> *plan: as many as there are shapes

func planOf(s *smithy.Schema, t reflect.Type) *plan {
	key := planKey{s, t}
	if p, ok := plans.Load(key); ok {
		return p.(*plan)
	}
	p := &plan{}
	for name, ms := range s.Members() {
		f, ok := t.FieldByName(export(name))
		if !ok || len(f.Index) != 1 {
			continue // the drift check of Service.Validate reports it
		}
		p.members = append(p.members, newMember(name, ms, f.Index[0]))
	}
	slices.SortFunc(p.members, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	got, _ := plans.LoadOrStore(key, p)
	return got.(*plan)
}

func newMember(name string, s *smithy.Schema, field int) member {
	m := member{schema: s, name: name, json: name, xml: queryName(name, s), field: field}
	if t := trait[*traits.JSONName](s); t != nil {
		m.json = t.Name
	}
	switch {
	case has[*traits.HTTPLabel](s):
		m.in = inLabel
	case has[*traits.HTTPQuery](s):
		m.in, m.key = inQuery, trait[*traits.HTTPQuery](s).Name
	case has[*traits.HTTPQueryParams](s):
		m.in = inQueryParams
	case has[*traits.HTTPHeader](s):
		m.in, m.key = inHeader, trait[*traits.HTTPHeader](s).Name
	case has[*traits.HTTPPrefixHeaders](s):
		m.in, m.key = inPrefixHeaders, trait[*traits.HTTPPrefixHeaders](s).Prefix
	case has[*traits.HTTPPayload](s):
		m.in = inPayload
	case has[*traits.HTTPResponseCode](s):
		m.in = inStatus
	}
	return m
}

// export is how the SDK names the Go field of a member.
func export(name string) string {
	if c := name[0]; 'a' <= c && c <= 'z' {
		return string(c-'a'+'A') + name[1:]
	}
	return name
}

type driftKey planKey

// drift compares a schema with the Go type it is used for, all the way down, and reports the
// members that have no field.
func drift(s *smithy.Schema, t reflect.Type, seen map[driftKey]bool) (errs []error) {
	if isUnit(s) || seen[driftKey{s, t}] {
		return nil
	}
	seen[driftKey{s, t}] = true
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case s.Type() == smithy.ShapeTypeStructure && t.Kind() == reflect.Struct:
		for name, ms := range s.Members() {
			f, ok := t.FieldByName(export(name))
			if !ok && ms.Type() == smithy.ShapeTypeUnion && has[*traits.Streaming](ms) {
				continue // an event stream: the SDK has it outside of the struct
			}
			if !ok {
				errs = append(errs, fmt.Errorf("%v has no field for member %s", t, name))
				continue
			}
			errs = append(errs, drift(ms, f.Type, seen)...)
		}
	case s.Type() == smithy.ShapeTypeStructure:
		errs = append(errs, fmt.Errorf("structure %s is a %v", s.TargetID().Name, t))
	case s.Type() == smithy.ShapeTypeList && t.Kind() == reflect.Slice:
		return drift(s.ListMember(), t.Elem(), seen)
	case s.Type() == smithy.ShapeTypeMap && t.Kind() == reflect.Map:
		return drift(s.MapValue(), t.Elem(), seen)
	}
	return errs
}
