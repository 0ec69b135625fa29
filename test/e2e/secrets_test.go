package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// forms are what a secret may look like in a file: as it is, and as a part of something longer in
// base64, at each of its three alignments.
func forms(secret string) (out [][]byte) {
	out = append(out, []byte(secret))
	for shift := range 3 {
		text := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), secret...))
		// The ends depend on what stands beside it.
		out = append(out, []byte(text[(shift*8+5)/6:len(text)-2]))
	}
	return out
}

// holding are the files below dir that have a secret in them.
func holding(t *testing.T, dir, secret string) (names []string) {
	t.Helper()
	want := forms(secret)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // gone meanwhile, or no file
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		for _, w := range want {
			if bytes.Contains(b, w) {
				names = append(names, strings.TrimPrefix(path, dir+"/"))
				break
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestSecretsAtRest looks through the whole state directory for planted secrets, while code that
// has them runs, is frozen, and after the end: none is there in the clear.
func TestSecretsAtRest(t *testing.T) {
	r := start(t)
	ctx := context.Background()
	role := r.Role("secret")
	variable, changed := "var-"+rand.Text(), "changed-"+rand.Text()
	r.Create(lambda.CreateFunctionInput{
		FunctionName: aws.String("f"), Role: &role, Runtime: types.RuntimePython313, Handler: aws.String("app.h"), Timeout: aws.Int32(60),
		Environment: &types.Environment{Variables: map[string]string{"PASSWORD": variable}},
	}, map[string]string{"app.py": "import os, time\ndef h(e, c):\n    time.sleep(e)\n    return [len(os.environ['PASSWORD']), os.environ['AWS_SECRET_ACCESS_KEY'], os.environ['AWS_SESSION_TOKEN']]\n"})
	users := iam.NewFromConfig(r.Config())
	if _, err := users.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("u")}); err != nil {
		t.Fatal(err)
	}
	key, err := users.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("u")})
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{"variable": variable, "access key": *key.AccessKey.SecretAccessKey}
	look := func(when string) {
		t.Helper()
		for what, secret := range secrets {
			if names := holding(t, r.State, secret); len(names) > 0 {
				t.Errorf("%s: the %s is in %s", when, what, strings.Join(names, ", "))
			}
		}
	}

	event := "event-" + rand.Text()
	c := r.Lambda()
	if _, err := c.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String("f"), InvocationType: types.InvocationTypeEvent, Payload: []byte("5")}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, 20*time.Second, "the function to run", func() bool { return sandboxes(r.State) > 0 })
	look("while code runs")
	answer := r.invoke("f", "0")
	var session []any
	if answer.fault != "" {
		t.Fatal(answer.body)
	}
	if err := json.Unmarshal([]byte(answer.body), &session); err != nil {
		t.Fatal(err)
	}
	secrets["session's secret"], secrets["session's token"] = session[1].(string), session[2].(string)
	look("while code is frozen")
	if _, err := c.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{
		FunctionName: aws.String("f"), Environment: &types.Environment{Variables: map[string]string{"PASSWORD": changed}},
	}); err != nil {
		t.Fatal(err)
	}
	secrets["changed variable"] = changed
	look("after a change")
	r.Stop(syscall.SIGTERM)
	look("after the end")

	// What is not encrypted is found: the search works.
	if err := os.WriteFile(filepath.Join(r.State, "planted"), []byte("x"+base64.StdEncoding.EncodeToString([]byte("xy"+event+"z"))), 0o600); err != nil {
		t.Fatal(err)
	}
	if names := holding(t, r.State, event); len(names) != 1 || names[0] != "planted" {
		t.Errorf("a planted secret is found in %v", names)
	}
}
