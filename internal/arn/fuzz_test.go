package arn

import (
	"strings"
	"testing"
)

// FuzzParse: what is taken for an ARN reads back as it was written, part by part; what is refused
// lacks something.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"arn:aws:lambda:eu-central-1:123456789012:function:f:PROD", "arn:aws:s3:::b/k:with:colons", "arn:aws:iam::1:role/p/r",
		"arn:::::", "arn:aws:x:::", ":::::", "arn", "", "arn:\x00:\xff:\n: :\u2028",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Parse(s)
		parts := strings.SplitN(s, ":", 6)
		whole := len(parts) == 6 && parts[0] == "arn" && parts[1] != "" && parts[2] != "" && parts[5] != ""
		if (err == nil) != whole {
			t.Fatalf("%q: %v", s, err)
		}
		if err != nil {
			if a != (ARN{}) {
				t.Errorf("%q is refused and gives %+v", s, a)
			}
			return
		}
		if a.String() != s {
			t.Errorf("%q reads back as %q", s, a)
		}
		if strings.Contains(a.Partition+a.Service+a.Region+a.Account, ":") {
			t.Errorf("%q: a colon in %+v", s, a)
		}
	})
}
