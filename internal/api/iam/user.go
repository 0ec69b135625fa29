package iam

import (
	"context"

	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"lambent.dev/lambent/internal/credential"
	"lambent.dev/lambent/internal/iam"
	"lambent.dev/lambent/internal/wire"
)

// toUser is a user as lists show it.
func toUser(u iam.User) types.User {
	return types.User{Arn: &u.ARN, CreateDate: &u.Created, Path: &u.Path, UserId: &u.ID, UserName: &u.Name}
}

func wholeUser(u iam.User) *types.User {
	user := toUser(u)
	user.Tags = toTags(u.Tags)
	return &user
}

// CreateUser serves CreateUser.
func (a *API) CreateUser(ctx context.Context, in *sdk.CreateUserInput) (*sdk.CreateUserOutput, error) {
	tags := fromTags(in.Tags)
	if err := check(func(c *iam.Check) {
		c.Name("userName", in.UserName, 64)
		c.Path("path", in.Path, false)
		c.Tags(tags)
		notEvaluated(c, "PermissionsBoundary", in.PermissionsBoundary != nil)
	}); err != nil {
		return nil, err
	}
	u, err := a.store.CreateUser(ctx, account(ctx), wire.Value(in.Path), *in.UserName, tags)
	if err != nil {
		return nil, err
	}
	return &sdk.CreateUserOutput{User: wholeUser(u)}, nil
}

// GetUser serves GetUser: without a name, of the caller.
func (a *API) GetUser(ctx context.Context, in *sdk.GetUserInput) (*sdk.GetUserOutput, error) {
	p, _ := iam.PrincipalFrom(ctx)
	if in.UserName == nil && p.Kind == iam.Root {
		// AWS: root is a user without a name, whose id is the account's number. Its date is
		// the account's; here it is the root key's.
		return &sdk.GetUserOutput{User: &types.User{Arn: &p.ARN, UserId: &p.UserID, CreateDate: &p.Issued}}, nil
	}
	name, err := userName(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	u, err := a.store.User(account(ctx), name)
	if err != nil {
		return nil, err
	}
	return &sdk.GetUserOutput{User: wholeUser(u)}, nil
}

// user is the user a request names.
func (a *API) user(ctx context.Context, name *string) (iam.User, error) {
	if err := check(func(c *iam.Check) { c.Name("userName", name, 128) }); err != nil {
		return iam.User{}, err
	}
	return a.store.User(account(ctx), *name)
}

// DeleteUser serves DeleteUser.
func (a *API) DeleteUser(ctx context.Context, in *sdk.DeleteUserInput) (*sdk.DeleteUserOutput, error) {
	u, err := a.user(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	return &sdk.DeleteUserOutput{}, a.store.DeleteUser(ctx, account(ctx), u.Name)
}

// ListUsers serves ListUsers.
func (a *API) ListUsers(ctx context.Context, in *sdk.ListUsersInput) (*sdk.ListUsersOutput, error) {
	path, err := pathPrefix(in.PathPrefix)
	if err != nil {
		return nil, err
	}
	all, err := a.store.Users(account(ctx), path)
	if err != nil {
		return nil, err
	}
	users, more, next, err := page(all, func(u iam.User) string { return u.Key() }, in.Marker, in.MaxItems)
	return &sdk.ListUsersOutput{Users: each(users, toUser), IsTruncated: more, Marker: next}, err
}

// ListGroupsForUser serves ListGroupsForUser. There are no groups, so no user is in one; tools
// ask before they delete a user.
func (a *API) ListGroupsForUser(ctx context.Context, in *sdk.ListGroupsForUserInput) (*sdk.ListGroupsForUserOutput, error) {
	if _, err := a.user(ctx, in.UserName); err != nil {
		return nil, err
	}
	none, _, _, err := page([]types.Group{}, nil, in.Marker, in.MaxItems)
	return &sdk.ListGroupsForUserOutput{Groups: none}, err
}

// CreateAccessKey serves CreateAccessKey, the only operation that answers a secret.
func (a *API) CreateAccessKey(ctx context.Context, in *sdk.CreateAccessKeyInput) (*sdk.CreateAccessKeyOutput, error) {
	name, err := userName(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	k, err := a.store.CreateAccessKey(ctx, account(ctx), name)
	if err != nil {
		return nil, err
	}
	return &sdk.CreateAccessKeyOutput{AccessKey: &types.AccessKey{
		AccessKeyId: &k.ID, SecretAccessKey: &k.Secret, Status: types.StatusType(k.Status), UserName: &k.User, CreateDate: &k.Created,
	}}, nil
}

// ListAccessKeys serves ListAccessKeys.
func (a *API) ListAccessKeys(ctx context.Context, in *sdk.ListAccessKeysInput) (*sdk.ListAccessKeysOutput, error) {
	name, err := userName(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	all, err := a.store.AccessKeys(account(ctx), name)
	if err != nil {
		return nil, err
	}
	keys, more, next, err := page(all, func(k credential.AccessKey) string { return k.ID }, in.Marker, in.MaxItems)
	return &sdk.ListAccessKeysOutput{IsTruncated: more, Marker: next, AccessKeyMetadata: each(keys, func(k credential.AccessKey) types.AccessKeyMetadata {
		return types.AccessKeyMetadata{AccessKeyId: &k.ID, CreateDate: &k.Created, Status: types.StatusType(k.Status), UserName: &k.User}
	})}, err
}

// UpdateAccessKey serves UpdateAccessKey.
func (a *API) UpdateAccessKey(ctx context.Context, in *sdk.UpdateAccessKeyInput) (*sdk.UpdateAccessKeyOutput, error) {
	if err := check(func(c *iam.Check) {
		c.Required("accessKeyId", in.AccessKeyId, 16, 128)
		c.OneOf("status", string(in.Status), true, credential.Active, credential.Inactive)
	}); err != nil {
		return nil, err
	}
	name, err := userName(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	return &sdk.UpdateAccessKeyOutput{}, a.store.SetAccessKeyStatus(ctx, account(ctx), name, *in.AccessKeyId, string(in.Status))
}

// DeleteAccessKey serves DeleteAccessKey.
func (a *API) DeleteAccessKey(ctx context.Context, in *sdk.DeleteAccessKeyInput) (*sdk.DeleteAccessKeyOutput, error) {
	if err := check(func(c *iam.Check) { c.Required("accessKeyId", in.AccessKeyId, 16, 128) }); err != nil {
		return nil, err
	}
	name, err := userName(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	return &sdk.DeleteAccessKeyOutput{}, a.store.DeleteAccessKey(ctx, account(ctx), name, *in.AccessKeyId)
}
