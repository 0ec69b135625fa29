package wire

import (
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/traits"
)

// Schemas of the simple shapes, for schemas written by hand.
var (
	String    = smithy.NewSchema(smithy.ShapeID{Namespace: "smithy.api", Name: "String"}, smithy.ShapeTypeString, 0)
	Integer   = smithy.NewSchema(smithy.ShapeID{Namespace: "smithy.api", Name: "Integer"}, smithy.ShapeTypeInteger, 0)
	Long      = smithy.NewSchema(smithy.ShapeID{Namespace: "smithy.api", Name: "Long"}, smithy.ShapeTypeLong, 0)
	Double    = smithy.NewSchema(smithy.ShapeID{Namespace: "smithy.api", Name: "Double"}, smithy.ShapeTypeDouble, 0)
	Boolean   = smithy.NewSchema(smithy.ShapeID{Namespace: "smithy.api", Name: "Boolean"}, smithy.ShapeTypeBoolean, 0)
	Timestamp = smithy.NewSchema(smithy.ShapeID{Namespace: "smithy.api", Name: "Timestamp"}, smithy.ShapeTypeTimestamp, 0)
	Blob      = smithy.NewSchema(smithy.ShapeID{Namespace: "smithy.api", Name: "Blob"}, smithy.ShapeTypeBlob, 0)
)

// A MemberDef is a member of a structure that is written by hand.
type MemberDef struct {
	name   string
	target *smithy.Schema
	traits []smithy.Trait
}

// Member is the member of that name, as it stands on the wire, with the shape of target.
func Member(name string, target *smithy.Schema, ts ...smithy.Trait) MemberDef {
	return MemberDef{name, target, ts}
}

// Struct makes the schema of a structure by hand.
func Struct(name string, members ...MemberDef) *smithy.Schema {
	s := smithy.NewSchema(smithy.ShapeID{Namespace: "lambent", Name: name}, smithy.ShapeTypeStructure, len(members))
	for _, m := range members {
		s.AddMember(m.name, m.target, m.traits...)
	}
	return s
}

// List makes the schema of a list of member.
func List(member *smithy.Schema, ts ...smithy.Trait) *smithy.Schema {
	s := smithy.NewSchema(smithy.ShapeID{Namespace: "lambent", Name: member.ID().Name + "List"}, smithy.ShapeTypeList, 1, ts...)
	s.AddMember("member", member)
	return s
}

// Map makes the schema of a map from strings to value.
func Map(value *smithy.Schema, ts ...smithy.Trait) *smithy.Schema {
	s := smithy.NewSchema(smithy.ShapeID{Namespace: "lambent", Name: value.ID().Name + "Map"}, smithy.ShapeTypeMap, 2, ts...)
	s.AddMember("key", String)
	s.AddMember("value", value)
	return s
}

// OperationSchema makes the schema of an awsQuery or awsJson operation by hand.
func OperationSchema(name string) *smithy.Schema {
	return smithy.NewSchema(smithy.ShapeID{Namespace: "lambent", Name: name}, smithy.ShapeTypeOperation, 0)
}

// trait is the trait T of s, nil when it has none.
func trait[T smithy.Trait](s *smithy.Schema) T {
	t, _ := smithy.SchemaTrait[T](s)
	return t
}

func has[T smithy.Trait](s *smithy.Schema) bool {
	_, ok := smithy.SchemaTrait[T](s)
	return ok
}

// isUnit reports whether a schema stands for no input or output at all.
func isUnit(s *smithy.Schema) bool { return s == nil || has[*traits.UnitShape](s) }
