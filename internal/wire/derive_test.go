package wire

import (
	"maps"
	"testing"
	"time"

	"github.com/aws/smithy-go"
)

type derivedTag struct{ Key, Value *string }

type derived struct {
	Name           *string
	Count          *int32
	On             bool
	Made           *time.Time
	Tags           []derivedTag
	Counts         map[string]int64
	ResultMetadata struct{ X int }
	hidden         int
}

func TestOf(t *testing.T) {
	s := Of[derived]()
	got := map[string]smithy.ShapeType{}
	for name, m := range s.Members() {
		got[name] = m.Type()
	}
	want := map[string]smithy.ShapeType{
		"Name": smithy.ShapeTypeString, "Count": smithy.ShapeTypeInteger, "On": smithy.ShapeTypeBoolean,
		"Made": smithy.ShapeTypeTimestamp, "Tags": smithy.ShapeTypeList, "Counts": smithy.ShapeTypeMap,
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for name, m := range s.Members() {
		if name == "Tags" && m.ListMember().Type() != smithy.ShapeTypeStructure {
			t.Errorf("tags are a list of %v", m.ListMember().Type())
		}
	}
	_ = derived{hidden: 0}
}

type endless struct{ Next *endless }

func TestOfRefusesRecursion(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a recursive struct has a schema")
		}
	}()
	Of[endless]()
}
