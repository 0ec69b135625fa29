package arn

import (
	"errors"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		in   string
		want ARN
	}{
		{"arn:aws:lambda:eu-central-1:123456789012:function:f:PROD", ARN{"aws", "lambda", "eu-central-1", "123456789012", "function:f:PROD"}},
		{"arn:aws:iam::123456789012:role/path/r", ARN{"aws", "iam", "", "123456789012", "role/path/r"}},
		{"arn:aws-cn:s3:::bucket/key:with:colons", ARN{"aws-cn", "s3", "", "", "bucket/key:with:colons"}},
	} {
		got, err := Parse(c.in)
		if err != nil || got != c.want {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", c.in, got, err, c.want)
		}
		if got.String() != c.in {
			t.Errorf("String() = %q, want %q", got.String(), c.in)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, in := range []string{"", "arn", "arn:aws:iam::1", "arn::iam::1:user/u", "arn:aws:::1:x", "arn:aws:iam::1:", "ARN:aws:iam::1:user/u", "x:aws:iam::1:user/u"} {
		if got, err := Parse(in); !errors.Is(err, ErrInvalid) {
			t.Errorf("Parse(%q) = %+v, %v; want ErrInvalid", in, got, err)
		}
	}
}

func TestPartition(t *testing.T) {
	for region, want := range map[string]string{"eu-central-1": "aws", "cn-north-1": "aws-cn", "us-gov-west-1": "aws-us-gov", "us-isob-east-1": "aws-iso-b", "us-iso-east-1": "aws-iso", "": "aws"} {
		if got := Partition(region); got != want {
			t.Errorf("Partition(%q) = %q, want %q", region, got, want)
		}
	}
}
