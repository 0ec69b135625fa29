package api_test

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	logssdk "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	lambdasdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	stssdk "github.com/aws/aws-sdk-go-v2/service/sts"

	"lambent.dev/lambent/internal/api/iam"
	"lambent.dev/lambent/internal/api/lambda"
	"lambent.dev/lambent/internal/api/lambent"
	"lambent.dev/lambent/internal/api/logs"
	"lambent.dev/lambent/internal/api/sts"
	"lambent.dev/lambent/internal/wire"
)

var update = flag.Bool("update", false, "write docs/operations.md")

const document = "../../docs/operations.md"

// TestOperations compares docs/operations.md with the tables of operations: what is served, which
// permission it takes, and which operations of AWS's SDK are not served.
func TestOperations(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Operations\n\nWhat a region serves, with the IAM action each operation takes. Written by `go test ./internal/api -update`.\n")
	for _, s := range []struct {
		service *wire.Service
		client  reflect.Type // nil where most of the service is out of scope
	}{
		{lambda.New(lambda.Config{}).Service(), reflect.TypeFor[*lambdasdk.Client]()},
		{logs.New(nil, "").Service(), reflect.TypeFor[*logssdk.Client]()},
		{iam.New(nil).Service(), nil},
		{sts.New(nil, nil).Service(), reflect.TypeFor[*stssdk.Client]()},
		{lambent.New(lambent.Config{}).Service(), nil},
	} {
		if err := s.service.Validate(); err != nil {
			t.Error(err)
		}
		served := table(&b, s.service)
		if s.client != nil {
			rest(t, &b, s.client, served)
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

// rest writes the operations of an SDK's client that are not served.
func rest(t *testing.T, b *strings.Builder, client reflect.Type, served []string) {
	var all, others []string
	for i := range client.NumMethod() {
		m := client.Method(i)
		// An operation takes a context, an input and options.
		if m.Type.NumIn() == 4 && m.Type.In(2).Kind() == reflect.Pointer && m.Type.In(2).Elem().Name() == m.Name+"Input" {
			all = append(all, m.Name)
			if !slices.Contains(served, m.Name) {
				others = append(others, m.Name)
			}
		}
	}
	for _, name := range served {
		if !slices.Contains(all, name) {
			t.Errorf("%s is no operation of %v", name, client)
		}
	}
	fmt.Fprintf(b, "\nNot served (%d of %d): %s.\n", len(others), len(all), strings.Join(others, ", "))
}
