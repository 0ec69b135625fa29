package api_test

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"

	"lambent.dev/lambent/internal/api/iam"
	"lambent.dev/lambent/internal/api/lambda"
	"lambent.dev/lambent/internal/api/logs"
	"lambent.dev/lambent/internal/api/sts"
	"lambent.dev/lambent/internal/wire"
)

var update = flag.Bool("update", false, "write docs/operations.md")

const document = "../../docs/operations.md"

// TestOperations compares docs/operations.md with the tables of operations: what is served, which
// permission it takes, and which of Lambda's operations are not served.
func TestOperations(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Operations\n\nWhat a region serves, with the IAM action each operation takes. Written by `go test ./internal/api -update`.\n")
	for _, s := range []*wire.Service{lambda.New(lambda.Config{}).Service(), logs.New(nil, "").Service(), iam.New(nil).Service(), sts.New(nil, nil).Service()} {
		if err := s.Validate(); err != nil {
			t.Error(err)
		}
		served := table(&b, s)
		if s.Name == "lambda" {
			rest(&b, served)
		}
	}
	if *update {
		if err := os.WriteFile(document, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != b.String() {
		t.Errorf("%s is not what is served; run: go test ./internal/api -update", document)
	}
}

// table writes what a service serves and returns the names.
func table(b *strings.Builder, s *wire.Service) (served []string) {
	fmt.Fprintf(b, "\n## %s\n\n| Operation | IAM action |\n|---|---|\n", s.Name)
	ops := slices.SortedFunc(slices.Values(s.Operations), func(x, y wire.Operation) int { return strings.Compare(x.Name(), y.Name()) })
	for _, o := range ops {
		action := "`" + o.Action() + "`"
		if o.Action() == "" {
			action = "none: " + o.PublicReason()
		}
		fmt.Fprintf(b, "| %s | %s |\n", o.Name(), action)
		served = append(served, o.Name())
	}
	return served
}

// rest writes the operations of Lambda's SDK that are not served.
func rest(b *strings.Builder, served []string) {
	var others []string
	client := reflect.TypeFor[*sdk.Client]()
	for i := range client.NumMethod() {
		m := client.Method(i)
		// An operation takes a context, an input and options.
		if m.Type.NumIn() == 4 && m.Type.In(2).Kind() == reflect.Pointer && m.Type.In(2).Elem().Name() == m.Name+"Input" && !slices.Contains(served, m.Name) {
			others = append(others, m.Name)
		}
	}
	fmt.Fprintf(b, "\nNot served (%d): %s.\n", len(others), strings.Join(others, ", "))
}
