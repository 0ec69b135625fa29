package iam

import (
	"context"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/wire"
)

const maxDocument = 131072 // characters of a document in a request; quotas come after

// toRole is a role as lists show it.
func toRole(r iam.Role) types.Role {
	role := types.Role{
		Arn: &r.ARN, CreateDate: &r.Created, Path: &r.Path, RoleId: &r.ID, RoleName: &r.Name,
		AssumeRolePolicyDocument: document(r.Trust),
		MaxSessionDuration:       wire.Ptr(int32(r.MaxSessionDuration)),
	}
	if r.Description != "" {
		role.Description = &r.Description
	}
	return role
}

// wholeRole is a role as GetRole shows it.
func wholeRole(r iam.Role) *types.Role {
	role := toRole(r)
	role.Tags = toTags(r.Tags)
	return &role
}

// CreateRole serves CreateRole.
func (a *API) CreateRole(ctx context.Context, in *sdk.CreateRoleInput) (*sdk.CreateRoleOutput, error) {
	tags := fromTags(in.Tags)
	if err := check(func(c *iam.Check) {
		c.Name("roleName", in.RoleName, 64)
		c.Path("path", in.Path, false)
		c.Document("assumeRolePolicyDocument", in.AssumeRolePolicyDocument, maxDocument)
		c.Description("description", in.Description)
		c.SessionDuration("maxSessionDuration", in.MaxSessionDuration)
		c.Tags(tags)
		notEvaluated(c, "PermissionsBoundary", in.PermissionsBoundary != nil)
	}); err != nil {
		return nil, err
	}
	r, err := a.store.CreateRole(ctx, account(ctx), iam.RoleSpec{
		Path: wire.Value(in.Path), Name: *in.RoleName, Description: wire.Value(in.Description),
		Trust: *in.AssumeRolePolicyDocument, MaxSessionDuration: int(wire.Value(in.MaxSessionDuration)), Tags: tags,
	})
	if err != nil {
		return nil, err
	}
	return &sdk.CreateRoleOutput{Role: wholeRole(r)}, nil
}

// role is the role a request names.
func (a *API) role(ctx context.Context, name *string) (iam.Role, error) {
	if err := check(func(c *iam.Check) { c.Name("roleName", name, 64) }); err != nil {
		return iam.Role{}, err
	}
	return a.store.Role(account(ctx), *name)
}

// GetRole serves GetRole.
func (a *API) GetRole(ctx context.Context, in *sdk.GetRoleInput) (*sdk.GetRoleOutput, error) {
	r, err := a.role(ctx, in.RoleName)
	if err != nil {
		return nil, err
	}
	return &sdk.GetRoleOutput{Role: wholeRole(r)}, nil
}

// DeleteRole serves DeleteRole.
func (a *API) DeleteRole(ctx context.Context, in *sdk.DeleteRoleInput) (*sdk.DeleteRoleOutput, error) {
	r, err := a.role(ctx, in.RoleName)
	if err != nil {
		return nil, err
	}
	return &sdk.DeleteRoleOutput{}, a.store.DeleteRole(ctx, account(ctx), r.Name)
}

// pathPrefix is the path that a list is asked for.
func pathPrefix(prefix *string) (string, error) {
	if prefix == nil {
		return "/", nil
	}
	return *prefix, check(func(c *iam.Check) { c.Path("pathPrefix", prefix, true) })
}

// ListRoles serves ListRoles.
func (a *API) ListRoles(ctx context.Context, in *sdk.ListRolesInput) (*sdk.ListRolesOutput, error) {
	path, err := pathPrefix(in.PathPrefix)
	if err != nil {
		return nil, err
	}
	all, err := a.store.Roles(account(ctx), path)
	if err != nil {
		return nil, err
	}
	roles, more, next, err := page(all, func(r iam.Role) string { return r.Key() }, in.Marker, in.MaxItems)
	return &sdk.ListRolesOutput{Roles: each(roles, toRole), IsTruncated: more, Marker: next}, err
}

// UpdateRole serves UpdateRole.
func (a *API) UpdateRole(ctx context.Context, in *sdk.UpdateRoleInput) (*sdk.UpdateRoleOutput, error) {
	if err := check(func(c *iam.Check) {
		c.Name("roleName", in.RoleName, 64)
		c.Description("description", in.Description)
		c.SessionDuration("maxSessionDuration", in.MaxSessionDuration)
	}); err != nil {
		return nil, err
	}
	var longest *int
	if in.MaxSessionDuration != nil {
		longest = wire.Ptr(int(*in.MaxSessionDuration))
	}
	_, err := a.store.UpdateRole(ctx, account(ctx), *in.RoleName, in.Description, longest)
	return &sdk.UpdateRoleOutput{}, err
}

// UpdateRoleDescription serves UpdateRoleDescription.
func (a *API) UpdateRoleDescription(ctx context.Context, in *sdk.UpdateRoleDescriptionInput) (*sdk.UpdateRoleDescriptionOutput, error) {
	if err := check(func(c *iam.Check) {
		c.Name("roleName", in.RoleName, 64)
		c.Required("description", in.Description, 0, 1000)
		c.Description("description", in.Description)
	}); err != nil {
		return nil, err
	}
	r, err := a.store.UpdateRole(ctx, account(ctx), *in.RoleName, in.Description, nil)
	if err != nil {
		return nil, err
	}
	return &sdk.UpdateRoleDescriptionOutput{Role: wholeRole(r)}, nil
}

// UpdateAssumeRolePolicy serves UpdateAssumeRolePolicy.
func (a *API) UpdateAssumeRolePolicy(ctx context.Context, in *sdk.UpdateAssumeRolePolicyInput) (*sdk.UpdateAssumeRolePolicyOutput, error) {
	if err := check(func(c *iam.Check) {
		c.Name("roleName", in.RoleName, 64)
		c.Document("policyDocument", in.PolicyDocument, maxDocument)
	}); err != nil {
		return nil, err
	}
	return &sdk.UpdateAssumeRolePolicyOutput{}, a.store.UpdateTrust(ctx, account(ctx), *in.RoleName, *in.PolicyDocument)
}

// ListInstanceProfilesForRole serves ListInstanceProfilesForRole. There are no instance profiles,
// so no role is in one; tools ask before they delete a role.
func (a *API) ListInstanceProfilesForRole(ctx context.Context, in *sdk.ListInstanceProfilesForRoleInput) (*sdk.ListInstanceProfilesForRoleOutput, error) {
	if _, err := a.role(ctx, in.RoleName); err != nil {
		return nil, err
	}
	none, _, _, err := page([]types.InstanceProfile{}, nil, in.Marker, in.MaxItems)
	return &sdk.ListInstanceProfilesForRoleOutput{InstanceProfiles: none}, err
}
