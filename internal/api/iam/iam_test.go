package iam_test

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

const (
	trust    = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	readLogs = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"logs:Get*","Resource":"*"}]}`
	basic    = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
)

func str(s string) *string { return aws.String(s) }

func decode(t *testing.T, doc *string) string {
	t.Helper()
	s, err := url.PathUnescape(aws.ToString(doc))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tagsOf(tags []types.Tag) (s string) {
	for _, t := range tags {
		s += *t.Key + "=" + *t.Value + " "
	}
	return strings.TrimSpace(s)
}

func TestRole(t *testing.T) {
	r := open(t)
	made := call(t, r.CreateRole, &sdk.CreateRoleInput{
		RoleName: str("worker"), Path: str("/team/"), AssumeRolePolicyDocument: str(trust), Description: str("does work"),
		MaxSessionDuration: aws.Int32(7200), Tags: []types.Tag{{Key: str("b"), Value: str("2")}, {Key: str("a"), Value: str("")}},
	}).Role
	if *made.Arn != "arn:aws:iam::123456789012:role/team/worker" || !strings.HasPrefix(*made.RoleId, "AROA") || made.CreateDate.IsZero() {
		t.Errorf("made %s %s %v", *made.Arn, *made.RoleId, made.CreateDate)
	}
	got := call(t, r.GetRole, &sdk.GetRoleInput{RoleName: str("worker")}).Role
	if decode(t, got.AssumeRolePolicyDocument) != trust || strings.ContainsAny(*got.AssumeRolePolicyDocument, `{":, `) {
		t.Errorf("document %s", *got.AssumeRolePolicyDocument)
	}
	if *got.RoleId != *made.RoleId || *got.Description != "does work" || *got.MaxSessionDuration != 7200 || tagsOf(got.Tags) != "a= b=2" {
		t.Errorf("got %+v", got)
	}

	call(t, r.UpdateRole, &sdk.UpdateRoleInput{RoleName: str("worker"), MaxSessionDuration: aws.Int32(3600)})
	got = call(t, r.UpdateRoleDescription, &sdk.UpdateRoleDescriptionInput{RoleName: str("worker"), Description: str("")}).Role
	if got.Description != nil || *got.MaxSessionDuration != 3600 {
		t.Errorf("updated to %v, %d", got.Description, *got.MaxSessionDuration)
	}
	other := strings.Replace(trust, "lambda.", "ecs-tasks.", 1)
	call(t, r.UpdateAssumeRolePolicy, &sdk.UpdateAssumeRolePolicyInput{RoleName: str("worker"), PolicyDocument: &other})
	if got = call(t, r.GetRole, &sdk.GetRoleInput{RoleName: str("worker")}).Role; decode(t, got.AssumeRolePolicyDocument) != other {
		t.Error("trust policy did not change")
	}
	call(t, r.TagRole, &sdk.TagRoleInput{RoleName: str("worker"), Tags: []types.Tag{{Key: str("A"), Value: str("3")}}})
	call(t, r.UntagRole, &sdk.UntagRoleInput{RoleName: str("worker"), TagKeys: []string{"b", "unknown"}})
	if tags := call(t, r.ListRoleTags, &sdk.ListRoleTagsInput{RoleName: str("worker")}).Tags; tagsOf(tags) != "A=3" {
		t.Errorf("tags %s", tagsOf(tags))
	}
	if p := call(t, r.ListInstanceProfilesForRole, &sdk.ListInstanceProfilesForRoleInput{RoleName: str("worker")}); p.IsTruncated || len(p.InstanceProfiles) != 0 {
		t.Errorf("instance profiles %+v", p)
	}
	call(t, r.DeleteRole, &sdk.DeleteRoleInput{RoleName: str("worker")})
	refused(t, r.GetRole, &sdk.GetRoleInput{RoleName: str("worker")}, 404, "NoSuchEntity", "The role with name worker cannot be found.")
}

func TestRoleErrors(t *testing.T) {
	r := open(t)
	create := func(change func(*sdk.CreateRoleInput)) *sdk.CreateRoleInput {
		in := &sdk.CreateRoleInput{RoleName: str("worker"), AssumeRolePolicyDocument: str(trust)}
		change(in)
		return in
	}
	call(t, r.CreateRole, create(func(*sdk.CreateRoleInput) {}))
	refused(t, r.CreateRole, create(func(*sdk.CreateRoleInput) {}), 409, "EntityAlreadyExists", "Role with name worker already exists.")
	refused(t, r.CreateRole, create(func(in *sdk.CreateRoleInput) { in.RoleName = str("WORKER") }), 409, "EntityAlreadyExists", "Role with name WORKER already exists.")
	long := strings.Repeat("x", 65)
	refused(t, r.CreateRole, create(func(in *sdk.CreateRoleInput) { in.RoleName = &long; in.MaxSessionDuration = aws.Int32(100) }), 400, "ValidationError",
		"2 validation errors detected: Value '"+long+"' at 'roleName' failed to satisfy constraint: Member must have length less than or equal to 64; Value '100' at 'maxSessionDuration' failed to satisfy constraint: Member must have value greater than or equal to 3600")
	refused(t, r.CreateRole, create(func(in *sdk.CreateRoleInput) { in.RoleName = str("a b") }), 400, "ValidationError",
		"The specified value for roleName is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-")
	refused(t, r.CreateRole, create(func(in *sdk.CreateRoleInput) { in.RoleName = str("") }), 400, "ValidationError",
		"1 validation error detected: Value '' at 'roleName' failed to satisfy constraint: Member must have length greater than or equal to 1")
	refused(t, r.CreateRole, create(func(in *sdk.CreateRoleInput) { in.RoleName = str("x"); in.AssumeRolePolicyDocument = str("{") }), 400, "MalformedPolicyDocument", "This policy contains invalid Json")
	refused(t, r.CreateRole, create(func(in *sdk.CreateRoleInput) { in.RoleName = str("x"); in.AssumeRolePolicyDocument = str(readLogs) }), 400, "MalformedPolicyDocument", "AssumeRole policy may only specify STS AssumeRole actions.")
	refused(t, r.CreateRole, create(func(in *sdk.CreateRoleInput) { in.RoleName = str("x"); in.PermissionsBoundary = str(basic) }), 400, "ValidationError",
		"The parameter PermissionsBoundary is not evaluated yet by this region, so a request that has it is refused.")
	refused(t, r.DeleteRole, &sdk.DeleteRoleInput{RoleName: str("nobody")}, 404, "NoSuchEntity", "The role with name nobody cannot be found.")

	call(t, r.PutRolePolicy, &sdk.PutRolePolicyInput{RoleName: str("worker"), PolicyName: str("logs"), PolicyDocument: str(readLogs)})
	call(t, r.AttachRolePolicy, &sdk.AttachRolePolicyInput{RoleName: str("worker"), PolicyArn: str(basic)})
	refused(t, r.DeleteRole, &sdk.DeleteRoleInput{RoleName: str("worker")}, 409, "DeleteConflict", "Cannot delete entity, must detach all policies first.")
	call(t, r.DetachRolePolicy, &sdk.DetachRolePolicyInput{RoleName: str("worker"), PolicyArn: str(basic)})
	refused(t, r.DetachRolePolicy, &sdk.DetachRolePolicyInput{RoleName: str("worker"), PolicyArn: str(basic)}, 404, "NoSuchEntity", "Policy "+basic+" was not found.")
	refused(t, r.DeleteRole, &sdk.DeleteRoleInput{RoleName: str("worker")}, 409, "DeleteConflict", "Cannot delete entity, must delete policies first.")
	refused(t, r.AttachRolePolicy, &sdk.AttachRolePolicyInput{RoleName: str("worker"), PolicyArn: str("arn:aws:iam::aws:policy/Nothing")}, 404, "NoSuchEntity",
		"Policy arn:aws:iam::aws:policy/Nothing does not exist or is not attachable.")
	refused(t, r.AttachRolePolicy, &sdk.AttachRolePolicyInput{RoleName: str("worker"), PolicyArn: str("policy/Nothing/at/all/here")}, 400, "InvalidInput", "ARN policy/Nothing/at/all/here is not valid.")
	big := strings.Replace(readLogs, "logs:Get*", "logs:"+strings.Repeat("x", 10240), 1)
	refused(t, r.PutRolePolicy, &sdk.PutRolePolicyInput{RoleName: str("worker"), PolicyName: str("big"), PolicyDocument: &big}, 409, "LimitExceeded",
		"Maximum policy size of 10240 bytes exceeded for role worker")
}

func TestInlinePolicies(t *testing.T) {
	r := open(t)
	call(t, r.CreateRole, &sdk.CreateRoleInput{RoleName: str("worker"), AssumeRolePolicyDocument: str(trust)})
	call(t, r.CreateUser, &sdk.CreateUserInput{UserName: str("bob")})
	for _, name := range []string{"b", "a"} {
		call(t, r.PutRolePolicy, &sdk.PutRolePolicyInput{RoleName: str("worker"), PolicyName: &name, PolicyDocument: str(readLogs)})
		call(t, r.PutUserPolicy, &sdk.PutUserPolicyInput{UserName: str("bob"), PolicyName: &name, PolicyDocument: str(readLogs)})
	}
	if names := call(t, r.ListRolePolicies, &sdk.ListRolePoliciesInput{RoleName: str("worker")}).PolicyNames; !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("of the role: %v", names)
	}
	if names := call(t, r.ListUserPolicies, &sdk.ListUserPoliciesInput{UserName: str("bob")}).PolicyNames; !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("of the user: %v", names)
	}
	got := call(t, r.GetRolePolicy, &sdk.GetRolePolicyInput{RoleName: str("worker"), PolicyName: str("a")})
	if *got.RoleName != "worker" || *got.PolicyName != "a" || decode(t, got.PolicyDocument) != readLogs {
		t.Errorf("got %+v", got)
	}
	own := call(t, r.GetUserPolicy, &sdk.GetUserPolicyInput{UserName: str("bob"), PolicyName: str("a")})
	if *own.UserName != "bob" || decode(t, own.PolicyDocument) != readLogs {
		t.Errorf("got %+v", own)
	}
	call(t, r.DeleteRolePolicy, &sdk.DeleteRolePolicyInput{RoleName: str("worker"), PolicyName: str("a")})
	refused(t, r.DeleteRolePolicy, &sdk.DeleteRolePolicyInput{RoleName: str("worker"), PolicyName: str("a")}, 404, "NoSuchEntity", "The role policy with name a cannot be found.")
	call(t, r.DeleteUserPolicy, &sdk.DeleteUserPolicyInput{UserName: str("bob"), PolicyName: str("a")})
	refused(t, r.GetUserPolicy, &sdk.GetUserPolicyInput{UserName: str("bob"), PolicyName: str("a")}, 404, "NoSuchEntity", "The user policy with name a cannot be found.")
	refused(t, r.PutUserPolicy, &sdk.PutUserPolicyInput{UserName: str("bob"), PolicyName: str("v"), PolicyDocument: str(strings.Replace(readLogs, `"*"`, `"arn:aws:s3:::${aws:username}"`, 1))},
		400, "MalformedPolicyDocument", "A policy variable, as in arn:aws:s3:::${aws:username}, is not evaluated yet by this region, so a policy that needs it is refused.")
}

func TestUserAndKeys(t *testing.T) {
	r := open(t)
	made := call(t, r.CreateUser, &sdk.CreateUserInput{UserName: str("bob"), Path: str("/team/"), Tags: []types.Tag{{Key: str("a"), Value: str("1")}}}).User
	if *made.Arn != "arn:aws:iam::123456789012:user/team/bob" || !strings.HasPrefix(*made.UserId, "AIDA") {
		t.Errorf("made %s %s", *made.Arn, *made.UserId)
	}
	refused(t, r.CreateUser, &sdk.CreateUserInput{UserName: str("Bob")}, 409, "EntityAlreadyExists", "User with name Bob already exists.")
	refused(t, r.GetUser, &sdk.GetUserInput{UserName: str("eve")}, 404, "NoSuchEntity", "The user with name eve cannot be found.")
	root := call(t, r.GetUser, &sdk.GetUserInput{}).User
	if *root.Arn != "arn:aws:iam::123456789012:root" || *root.UserId != account || root.UserName != nil {
		t.Errorf("root is %+v", root)
	}
	refused(t, r.CreateAccessKey, &sdk.CreateAccessKeyInput{}, 400, "ValidationError", "Must specify userName when calling with non-User credentials")

	key := call(t, r.CreateAccessKey, &sdk.CreateAccessKeyInput{UserName: str("bob")}).AccessKey
	bob := r.as(*key.AccessKeyId, *key.SecretAccessKey)
	refused(t, bob.GetUser, &sdk.GetUserInput{}, 403, "AccessDenied",
		"User: arn:aws:iam::123456789012:user/team/bob is not authorized to perform: iam:GetUser on resource: arn:aws:iam::123456789012:user/team/bob because no identity-based policy allows the iam:GetUser action")
	self := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:GetUser","iam:*AccessKey*"],"Resource":"arn:aws:iam::123456789012:user/team/bob"}]}`
	call(t, r.PutUserPolicy, &sdk.PutUserPolicyInput{UserName: str("bob"), PolicyName: str("self"), PolicyDocument: &self})
	if u := call(t, bob.GetUser, &sdk.GetUserInput{}).User; *u.UserName != "bob" || tagsOf(u.Tags) != "a=1" {
		t.Errorf("bob is %+v", u)
	}
	second := call(t, bob.CreateAccessKey, &sdk.CreateAccessKeyInput{}).AccessKey
	refused(t, bob.CreateAccessKey, &sdk.CreateAccessKeyInput{}, 409, "LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2")
	if keys := call(t, bob.ListAccessKeys, &sdk.ListAccessKeysInput{}).AccessKeyMetadata; len(keys) != 2 || *keys[0].UserName != "bob" || keys[0].Status != types.StatusTypeActive {
		t.Errorf("keys %+v", keys)
	}
	call(t, bob.UpdateAccessKey, &sdk.UpdateAccessKeyInput{AccessKeyId: second.AccessKeyId, Status: types.StatusTypeInactive})
	refused(t, r.as(*second.AccessKeyId, *second.SecretAccessKey).GetUser, &sdk.GetUserInput{}, 403, "InvalidClientTokenId", "The security token included in the request is invalid.")
	call(t, bob.DeleteAccessKey, &sdk.DeleteAccessKeyInput{AccessKeyId: second.AccessKeyId})
	refused(t, bob.DeleteAccessKey, &sdk.DeleteAccessKeyInput{AccessKeyId: second.AccessKeyId}, 404, "NoSuchEntity", "The Access Key with id "+*second.AccessKeyId+" cannot be found.")

	refused(t, r.DeleteUser, &sdk.DeleteUserInput{UserName: str("bob")}, 409, "DeleteConflict", "Cannot delete entity, must delete access keys first.")
	call(t, r.DeleteAccessKey, &sdk.DeleteAccessKeyInput{UserName: str("bob"), AccessKeyId: key.AccessKeyId})
	refused(t, bob.GetUser, &sdk.GetUserInput{}, 403, "InvalidClientTokenId", "The security token included in the request is invalid.")
	call(t, r.DeleteUserPolicy, &sdk.DeleteUserPolicyInput{UserName: str("bob"), PolicyName: str("self")})
	call(t, r.TagUser, &sdk.TagUserInput{UserName: str("bob"), Tags: []types.Tag{{Key: str("b"), Value: str("2")}}})
	call(t, r.UntagUser, &sdk.UntagUserInput{UserName: str("bob"), TagKeys: []string{"a"}})
	if tags := call(t, r.ListUserTags, &sdk.ListUserTagsInput{UserName: str("bob")}).Tags; tagsOf(tags) != "b=2" {
		t.Errorf("tags %s", tagsOf(tags))
	}
	if groups := call(t, r.ListGroupsForUser, &sdk.ListGroupsForUserInput{UserName: str("bob")}).Groups; len(groups) != 0 {
		t.Errorf("groups %+v", groups)
	}
	call(t, r.DeleteUser, &sdk.DeleteUserInput{UserName: str("bob")})
}

func TestManagedPolicy(t *testing.T) {
	r := open(t)
	made := call(t, r.CreatePolicy, &sdk.CreatePolicyInput{PolicyName: str("logs"), Path: str("/p/"), Description: str("reads"), PolicyDocument: str(readLogs), Tags: []types.Tag{{Key: str("a"), Value: str("1")}}}).Policy
	if *made.Arn != "arn:aws:iam::123456789012:policy/p/logs" || *made.DefaultVersionId != "v1" || *made.AttachmentCount != 0 || !made.IsAttachable {
		t.Errorf("made %+v", made)
	}
	refused(t, r.CreatePolicy, &sdk.CreatePolicyInput{PolicyName: str("logs"), PolicyDocument: str(readLogs)}, 409, "EntityAlreadyExists", "A policy called logs already exists. Duplicate names are not allowed.")
	call(t, r.CreateRole, &sdk.CreateRoleInput{RoleName: str("worker"), AssumeRolePolicyDocument: str(trust)})
	call(t, r.CreateUser, &sdk.CreateUserInput{UserName: str("bob")})
	call(t, r.AttachRolePolicy, &sdk.AttachRolePolicyInput{RoleName: str("worker"), PolicyArn: made.Arn})
	call(t, r.AttachRolePolicy, &sdk.AttachRolePolicyInput{RoleName: str("worker"), PolicyArn: made.Arn}) // twice is once
	call(t, r.AttachRolePolicy, &sdk.AttachRolePolicyInput{RoleName: str("worker"), PolicyArn: str(basic)})
	call(t, r.AttachUserPolicy, &sdk.AttachUserPolicyInput{UserName: str("bob"), PolicyArn: made.Arn})

	attached := call(t, r.ListAttachedRolePolicies, &sdk.ListAttachedRolePoliciesInput{RoleName: str("worker")}).AttachedPolicies
	if len(attached) != 2 || *attached[0].PolicyName != "logs" || *attached[1].PolicyArn != basic {
		t.Errorf("attached %+v", attached)
	}
	if p := call(t, r.ListAttachedRolePolicies, &sdk.ListAttachedRolePoliciesInput{RoleName: str("worker"), PathPrefix: str("/service-role/")}).AttachedPolicies; len(p) != 1 {
		t.Errorf("under a path: %+v", p)
	}
	if p := call(t, r.ListAttachedUserPolicies, &sdk.ListAttachedUserPoliciesInput{UserName: str("bob")}).AttachedPolicies; len(p) != 1 {
		t.Errorf("attached to the user: %+v", p)
	}
	e := call(t, r.ListEntitiesForPolicy, &sdk.ListEntitiesForPolicyInput{PolicyArn: made.Arn})
	if len(e.PolicyRoles) != 1 || *e.PolicyRoles[0].RoleName != "worker" || len(e.PolicyUsers) != 1 || len(e.PolicyGroups) != 0 {
		t.Errorf("entities %+v", e)
	}
	if e = call(t, r.ListEntitiesForPolicy, &sdk.ListEntitiesForPolicyInput{PolicyArn: made.Arn, EntityFilter: types.EntityTypeUser}); len(e.PolicyRoles) != 0 || len(e.PolicyUsers) != 1 {
		t.Errorf("users %+v", e)
	}
	got := call(t, r.GetPolicy, &sdk.GetPolicyInput{PolicyArn: made.Arn}).Policy
	if *got.AttachmentCount != 2 || *got.Description != "reads" || tagsOf(got.Tags) != "a=1" {
		t.Errorf("got %+v", got)
	}
	call(t, r.TagPolicy, &sdk.TagPolicyInput{PolicyArn: made.Arn, Tags: []types.Tag{{Key: str("b"), Value: str("2")}}})
	call(t, r.UntagPolicy, &sdk.UntagPolicyInput{PolicyArn: made.Arn, TagKeys: []string{"a"}})
	if tags := call(t, r.ListPolicyTags, &sdk.ListPolicyTagsInput{PolicyArn: made.Arn}).Tags; tagsOf(tags) != "b=2" {
		t.Errorf("tags %s", tagsOf(tags))
	}
	refused(t, r.DeletePolicy, &sdk.DeletePolicyInput{PolicyArn: made.Arn}, 409, "DeleteConflict", "Cannot delete a policy attached to entities.")
	call(t, r.DetachUserPolicy, &sdk.DetachUserPolicyInput{UserName: str("bob"), PolicyArn: made.Arn})
	call(t, r.DetachRolePolicy, &sdk.DetachRolePolicyInput{RoleName: str("worker"), PolicyArn: made.Arn})
	call(t, r.DeletePolicy, &sdk.DeletePolicyInput{PolicyArn: made.Arn})
	refused(t, r.GetPolicy, &sdk.GetPolicyInput{PolicyArn: made.Arn}, 404, "NoSuchEntity", "Policy arn:aws:iam::123456789012:policy/p/logs was not found.")
	refused(t, r.CreatePolicyVersion, &sdk.CreatePolicyVersionInput{PolicyArn: str(basic), PolicyDocument: str(readLogs)}, 400, "UnmodifiableEntity", "Policy is outside your own account.")
}

func TestPolicyVersions(t *testing.T) {
	r := open(t)
	p := call(t, r.CreatePolicy, &sdk.CreatePolicyInput{PolicyName: str("logs"), PolicyDocument: str(readLogs)}).Policy
	for range 4 {
		call(t, r.CreatePolicyVersion, &sdk.CreatePolicyVersionInput{PolicyArn: p.Arn, PolicyDocument: str(readLogs), SetAsDefault: true})
	}
	refused(t, r.CreatePolicyVersion, &sdk.CreatePolicyVersionInput{PolicyArn: p.Arn, PolicyDocument: str(readLogs)}, 409, "LimitExceeded",
		"A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.")
	refused(t, r.DeletePolicyVersion, &sdk.DeletePolicyVersionInput{PolicyArn: p.Arn, VersionId: str("v5")}, 409, "DeleteConflict", "Cannot delete the default version of a policy.")
	call(t, r.SetDefaultPolicyVersion, &sdk.SetDefaultPolicyVersionInput{PolicyArn: p.Arn, VersionId: str("v2")})
	call(t, r.DeletePolicyVersion, &sdk.DeletePolicyVersionInput{PolicyArn: p.Arn, VersionId: str("v5")})
	v := call(t, r.CreatePolicyVersion, &sdk.CreatePolicyVersionInput{PolicyArn: p.Arn, PolicyDocument: str(readLogs)}).PolicyVersion
	if *v.VersionId != "v6" || v.IsDefaultVersion {
		t.Errorf("a number came back: %+v", v)
	}
	list := ""
	for _, v := range call(t, r.ListPolicyVersions, &sdk.ListPolicyVersionsInput{PolicyArn: p.Arn}).Versions {
		list += fmt.Sprint(*v.VersionId, v.IsDefaultVersion, " ")
	}
	if list != "v6false v4false v3false v2true v1false " {
		t.Errorf("versions %s", list)
	}
	got := call(t, r.GetPolicyVersion, &sdk.GetPolicyVersionInput{PolicyArn: p.Arn, VersionId: str("v2")}).PolicyVersion
	if !got.IsDefaultVersion || decode(t, got.Document) != readLogs {
		t.Errorf("got %+v", got)
	}
	refused(t, r.DeletePolicy, &sdk.DeletePolicyInput{PolicyArn: p.Arn}, 409, "DeleteConflict",
		"This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
	aws := call(t, r.GetPolicyVersion, &sdk.GetPolicyVersionInput{PolicyArn: str(basic), VersionId: str("v1")}).PolicyVersion
	if !strings.Contains(decode(t, aws.Document), "logs:PutLogEvents") {
		t.Errorf("AWS's: %s", decode(t, aws.Document))
	}
}

func TestPages(t *testing.T) {
	r := open(t)
	var want []string
	for i := range 7 {
		name := fmt.Sprintf("role-%d", i)
		path := "/even/"
		if i%2 == 1 {
			path = "/odd/"
		}
		want = append(want, name)
		call(t, r.CreateRole, &sdk.CreateRoleInput{RoleName: &name, Path: &path, AssumeRolePolicyDocument: str(trust)})
	}
	var got []string
	pages := sdk.NewListRolesPaginator(r.Client, &sdk.ListRolesInput{MaxItems: aws.Int32(3)})
	n := 0
	for ; pages.HasMorePages(); n++ {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, role := range page.Roles {
			got = append(got, *role.RoleName)
		}
	}
	if n != 3 || !slices.Equal(got, want) {
		t.Errorf("%d pages: %v", n, got)
	}
	if odd := call(t, r.ListRoles, &sdk.ListRolesInput{PathPrefix: str("/odd")}).Roles; len(odd) != 3 {
		t.Errorf("%d odd roles", len(odd))
	}
	refused(t, r.ListRoles, &sdk.ListRolesInput{MaxItems: aws.Int32(0)}, 400, "ValidationError",
		"1 validation error detected: Value '0' at 'maxItems' failed to satisfy constraint: Member must have value greater than or equal to 1")
	refused(t, r.ListUsers, &sdk.ListUsersInput{Marker: str("%%")}, 400, "ValidationError", "Invalid Marker.")
	all := call(t, r.ListPolicies, &sdk.ListPoliciesInput{Scope: types.PolicyScopeTypeAws, PathPrefix: str("/service-role/")}).Policies
	if len(all) < 8 || *all[0].Arn != basic {
		t.Errorf("%d policies of AWS, first %s", len(all), *all[0].Arn)
	}
	if own := call(t, r.ListPolicies, &sdk.ListPoliciesInput{Scope: types.PolicyScopeTypeLocal}).Policies; len(own) != 0 {
		t.Errorf("own policies %+v", own)
	}
}

// TestErrorsAreTyped checks that the SDK makes its own errors of ours.
func TestErrorsAreTyped(t *testing.T) {
	r := open(t)
	_, err := r.GetRole(t.Context(), &sdk.GetRoleInput{RoleName: str("nobody")})
	var none *types.NoSuchEntityException
	if !errors.As(err, &none) {
		t.Errorf("got %v", err)
	}
}
