package iam

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"lambent.dev/lambent/internal/iam"
)

var versionPattern = regexp.MustCompile(`^v[1-9][0-9]*(\.[A-Za-z0-9-]*)?$`)

func checkVersion(policyARN, version *string) error {
	if err := check(func(c *iam.Check) {
		if version == nil {
			c.Required("versionId", nil, 1, 1)
		}
		c.Pattern("versionId", version, versionPattern)
	}); err != nil {
		return err
	}
	return checkPolicyARN(policyARN)
}

// CreatePolicyVersion serves CreatePolicyVersion.
func (a *API) CreatePolicyVersion(ctx context.Context, in *sdk.CreatePolicyVersionInput) (*sdk.CreatePolicyVersionOutput, error) {
	if err := check(func(c *iam.Check) { c.Document("policyDocument", in.PolicyDocument, maxDocument) }); err != nil {
		return nil, err
	}
	if err := checkPolicyARN(in.PolicyArn); err != nil {
		return nil, err
	}
	v, err := a.store.CreatePolicyVersion(ctx, account(ctx), *in.PolicyArn, *in.PolicyDocument, in.SetAsDefault)
	if err != nil {
		return nil, err
	}
	return &sdk.CreatePolicyVersionOutput{PolicyVersion: &types.PolicyVersion{
		VersionId: &v.ID, IsDefaultVersion: in.SetAsDefault, CreateDate: &v.Created,
	}}, nil
}

// GetPolicyVersion serves GetPolicyVersion.
func (a *API) GetPolicyVersion(ctx context.Context, in *sdk.GetPolicyVersionInput) (*sdk.GetPolicyVersionOutput, error) {
	if err := checkVersion(in.PolicyArn, in.VersionId); err != nil {
		return nil, err
	}
	p, err := a.store.Policy(account(ctx), *in.PolicyArn)
	if err != nil {
		return nil, err
	}
	v, err := p.Version(*in.VersionId)
	if err != nil {
		return nil, err
	}
	return &sdk.GetPolicyVersionOutput{PolicyVersion: &types.PolicyVersion{
		VersionId: &v.ID, IsDefaultVersion: v.ID == p.Default, CreateDate: &v.Created, Document: document(v.Document),
	}}, nil
}

// ListPolicyVersions serves ListPolicyVersions, the newest version first.
func (a *API) ListPolicyVersions(ctx context.Context, in *sdk.ListPolicyVersionsInput) (*sdk.ListPolicyVersionsOutput, error) {
	p, err := a.policy(ctx, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	all := slices.Clone(p.Versions)
	slices.Reverse(all)
	versions, more, next, err := page(all, newestFirst, in.Marker, in.MaxItems)
	return &sdk.ListPolicyVersionsOutput{IsTruncated: more, Marker: next, Versions: each(versions, func(v iam.PolicyVersion) types.PolicyVersion {
		return types.PolicyVersion{VersionId: &v.ID, IsDefaultVersion: v.ID == p.Default, CreateDate: &v.Created}
	})}, err
}

// newestFirst orders versions by falling number.
func newestFirst(v iam.PolicyVersion) string {
	n, _ := strconv.Atoi(v.ID[1:])
	return fmt.Sprintf("%012d", 999_999_999_999-n)
}

// DeletePolicyVersion serves DeletePolicyVersion.
func (a *API) DeletePolicyVersion(ctx context.Context, in *sdk.DeletePolicyVersionInput) (*sdk.DeletePolicyVersionOutput, error) {
	if err := checkVersion(in.PolicyArn, in.VersionId); err != nil {
		return nil, err
	}
	return &sdk.DeletePolicyVersionOutput{}, a.store.DeletePolicyVersion(ctx, account(ctx), *in.PolicyArn, *in.VersionId)
}

// SetDefaultPolicyVersion serves SetDefaultPolicyVersion.
func (a *API) SetDefaultPolicyVersion(ctx context.Context, in *sdk.SetDefaultPolicyVersionInput) (*sdk.SetDefaultPolicyVersionOutput, error) {
	if err := checkVersion(in.PolicyArn, in.VersionId); err != nil {
		return nil, err
	}
	return &sdk.SetDefaultPolicyVersionOutput{}, a.store.SetDefaultVersion(ctx, account(ctx), *in.PolicyArn, *in.VersionId)
}
