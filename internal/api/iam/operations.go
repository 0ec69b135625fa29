package iam

import (
	"context"
	"slices"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"

	"lambent.dev/lambent/internal/wire"
)

// operations is everything that is served.
func (a *API) operations() []wire.Operation {
	return slices.Concat(a.roleOperations(), a.userOperations(), a.policyOperations())
}

// operation is a row of the table. IAM calls an action what it calls the operation. The SDK's
// module of IAM has no schemas: they are derived from its structs.
func operation[In, Out any](name string, h func(context.Context, *In) (*Out, error), resources func(wire.Scope, *In) []string) wire.Operation {
	return wire.Op(wire.OperationSchema(name), wire.Of[In](), wire.Of[Out](), translated(h), wire.Auth("iam:"+name, resources))
}

func policyResource(policyARN *string) []string {
	if policyARN == nil {
		return nil
	}
	return []string{*policyARN}
}

// roleOperations are those on roles.
func (a *API) roleOperations() []wire.Operation {
	return []wire.Operation{
		operation("CreateRole", a.CreateRole, func(s wire.Scope, in *sdk.CreateRoleInput) []string {
			return under(s, "role", in.Path, wire.Value(in.RoleName))
		}),
		operation("GetRole", a.GetRole, func(s wire.Scope, in *sdk.GetRoleInput) []string { return a.roleResource(s, in.RoleName) }),
		operation("DeleteRole", a.DeleteRole, func(s wire.Scope, in *sdk.DeleteRoleInput) []string { return a.roleResource(s, in.RoleName) }),
		operation("UpdateRole", a.UpdateRole, func(s wire.Scope, in *sdk.UpdateRoleInput) []string { return a.roleResource(s, in.RoleName) }),
		operation("UpdateRoleDescription", a.UpdateRoleDescription, func(s wire.Scope, in *sdk.UpdateRoleDescriptionInput) []string { return a.roleResource(s, in.RoleName) }),
		operation("UpdateAssumeRolePolicy", a.UpdateAssumeRolePolicy, func(s wire.Scope, in *sdk.UpdateAssumeRolePolicyInput) []string {
			return a.roleResource(s, in.RoleName)
		}),
		operation("ListRoles", a.ListRoles, func(s wire.Scope, in *sdk.ListRolesInput) []string { return under(s, "role", in.PathPrefix, "") }),
		operation("TagRole", a.TagRole, func(s wire.Scope, in *sdk.TagRoleInput) []string { return a.roleResource(s, in.RoleName) }),
		operation("UntagRole", a.UntagRole, func(s wire.Scope, in *sdk.UntagRoleInput) []string { return a.roleResource(s, in.RoleName) }),
		operation("ListRoleTags", a.ListRoleTags, func(s wire.Scope, in *sdk.ListRoleTagsInput) []string { return a.roleResource(s, in.RoleName) }),
		operation("PutRolePolicy", a.PutRolePolicy, func(s wire.Scope, in *sdk.PutRolePolicyInput) []string { return a.roleResource(s, in.RoleName) }),
		operation("GetRolePolicy", a.GetRolePolicy, func(s wire.Scope, in *sdk.GetRolePolicyInput) []string { return a.roleResource(s, in.RoleName) }),
		operation("DeleteRolePolicy", a.DeleteRolePolicy, func(s wire.Scope, in *sdk.DeleteRolePolicyInput) []string { return a.roleResource(s, in.RoleName) }),
		operation("ListRolePolicies", a.ListRolePolicies, func(s wire.Scope, in *sdk.ListRolePoliciesInput) []string { return a.roleResource(s, in.RoleName) }),
		operation("AttachRolePolicy", a.AttachRolePolicy, func(s wire.Scope, in *sdk.AttachRolePolicyInput) []string { return a.roleResource(s, in.RoleName) }),
		operation("DetachRolePolicy", a.DetachRolePolicy, func(s wire.Scope, in *sdk.DetachRolePolicyInput) []string { return a.roleResource(s, in.RoleName) }),
		operation("ListAttachedRolePolicies", a.ListAttachedRolePolicies, func(s wire.Scope, in *sdk.ListAttachedRolePoliciesInput) []string {
			return a.roleResource(s, in.RoleName)
		}),
		operation("ListInstanceProfilesForRole", a.ListInstanceProfilesForRole, func(s wire.Scope, in *sdk.ListInstanceProfilesForRoleInput) []string {
			return a.roleResource(s, in.RoleName)
		}),
	}
}

// userOperations are those on users.
func (a *API) userOperations() []wire.Operation {
	return []wire.Operation{
		operation("CreateUser", a.CreateUser, func(s wire.Scope, in *sdk.CreateUserInput) []string {
			return under(s, "user", in.Path, wire.Value(in.UserName))
		}),
		operation("GetUser", a.GetUser, func(s wire.Scope, in *sdk.GetUserInput) []string { return a.userResource(s, in.UserName) }),
		operation("DeleteUser", a.DeleteUser, func(s wire.Scope, in *sdk.DeleteUserInput) []string { return a.userResource(s, in.UserName) }),
		operation("ListUsers", a.ListUsers, func(s wire.Scope, in *sdk.ListUsersInput) []string { return under(s, "user", in.PathPrefix, "") }),
		operation("TagUser", a.TagUser, func(s wire.Scope, in *sdk.TagUserInput) []string { return a.userResource(s, in.UserName) }),
		operation("UntagUser", a.UntagUser, func(s wire.Scope, in *sdk.UntagUserInput) []string { return a.userResource(s, in.UserName) }),
		operation("ListUserTags", a.ListUserTags, func(s wire.Scope, in *sdk.ListUserTagsInput) []string { return a.userResource(s, in.UserName) }),
		operation("CreateAccessKey", a.CreateAccessKey, func(s wire.Scope, in *sdk.CreateAccessKeyInput) []string { return a.userResource(s, in.UserName) }),
		operation("ListAccessKeys", a.ListAccessKeys, func(s wire.Scope, in *sdk.ListAccessKeysInput) []string { return a.userResource(s, in.UserName) }),
		operation("UpdateAccessKey", a.UpdateAccessKey, func(s wire.Scope, in *sdk.UpdateAccessKeyInput) []string { return a.userResource(s, in.UserName) }),
		operation("DeleteAccessKey", a.DeleteAccessKey, func(s wire.Scope, in *sdk.DeleteAccessKeyInput) []string { return a.userResource(s, in.UserName) }),
		operation("PutUserPolicy", a.PutUserPolicy, func(s wire.Scope, in *sdk.PutUserPolicyInput) []string { return a.userResource(s, in.UserName) }),
		operation("GetUserPolicy", a.GetUserPolicy, func(s wire.Scope, in *sdk.GetUserPolicyInput) []string { return a.userResource(s, in.UserName) }),
		operation("DeleteUserPolicy", a.DeleteUserPolicy, func(s wire.Scope, in *sdk.DeleteUserPolicyInput) []string { return a.userResource(s, in.UserName) }),
		operation("ListUserPolicies", a.ListUserPolicies, func(s wire.Scope, in *sdk.ListUserPoliciesInput) []string { return a.userResource(s, in.UserName) }),
		operation("AttachUserPolicy", a.AttachUserPolicy, func(s wire.Scope, in *sdk.AttachUserPolicyInput) []string { return a.userResource(s, in.UserName) }),
		operation("DetachUserPolicy", a.DetachUserPolicy, func(s wire.Scope, in *sdk.DetachUserPolicyInput) []string { return a.userResource(s, in.UserName) }),
		operation("ListAttachedUserPolicies", a.ListAttachedUserPolicies, func(s wire.Scope, in *sdk.ListAttachedUserPoliciesInput) []string {
			return a.userResource(s, in.UserName)
		}),
		operation("ListGroupsForUser", a.ListGroupsForUser, func(s wire.Scope, in *sdk.ListGroupsForUserInput) []string { return a.userResource(s, in.UserName) }),
	}
}

// policyOperations are those on managed policies.
func (a *API) policyOperations() []wire.Operation {
	return []wire.Operation{
		operation("CreatePolicy", a.CreatePolicy, func(s wire.Scope, in *sdk.CreatePolicyInput) []string {
			return under(s, "policy", in.Path, wire.Value(in.PolicyName))
		}),
		operation("GetPolicy", a.GetPolicy, func(_ wire.Scope, in *sdk.GetPolicyInput) []string { return policyResource(in.PolicyArn) }),
		operation("DeletePolicy", a.DeletePolicy, func(_ wire.Scope, in *sdk.DeletePolicyInput) []string { return policyResource(in.PolicyArn) }),
		operation("ListPolicies", a.ListPolicies, func(s wire.Scope, in *sdk.ListPoliciesInput) []string { return under(s, "policy", in.PathPrefix, "") }),
		operation("CreatePolicyVersion", a.CreatePolicyVersion, func(_ wire.Scope, in *sdk.CreatePolicyVersionInput) []string { return policyResource(in.PolicyArn) }),
		operation("GetPolicyVersion", a.GetPolicyVersion, func(_ wire.Scope, in *sdk.GetPolicyVersionInput) []string { return policyResource(in.PolicyArn) }),
		operation("ListPolicyVersions", a.ListPolicyVersions, func(_ wire.Scope, in *sdk.ListPolicyVersionsInput) []string { return policyResource(in.PolicyArn) }),
		operation("DeletePolicyVersion", a.DeletePolicyVersion, func(_ wire.Scope, in *sdk.DeletePolicyVersionInput) []string { return policyResource(in.PolicyArn) }),
		operation("SetDefaultPolicyVersion", a.SetDefaultPolicyVersion, func(_ wire.Scope, in *sdk.SetDefaultPolicyVersionInput) []string { return policyResource(in.PolicyArn) }),
		operation("ListEntitiesForPolicy", a.ListEntitiesForPolicy, func(_ wire.Scope, in *sdk.ListEntitiesForPolicyInput) []string { return policyResource(in.PolicyArn) }),
		operation("TagPolicy", a.TagPolicy, func(_ wire.Scope, in *sdk.TagPolicyInput) []string { return policyResource(in.PolicyArn) }),
		operation("UntagPolicy", a.UntagPolicy, func(_ wire.Scope, in *sdk.UntagPolicyInput) []string { return policyResource(in.PolicyArn) }),
		operation("ListPolicyTags", a.ListPolicyTags, func(_ wire.Scope, in *sdk.ListPolicyTagsInput) []string { return policyResource(in.PolicyArn) }),
	}
}
