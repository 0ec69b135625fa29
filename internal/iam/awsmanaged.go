package iam

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// awsManagedJSON are the managed policies that AWS publishes and that matter here, as AWS's
// managed policy reference has them: path, name, number and date of the default version, document.
// ReadOnlyAccess is the exception: AWS's lists hundreds of services, ours the actions of those served.
//
//go:embed awsmanaged.json
var awsManagedJSON []byte

type awsManaged struct {
	list  []ManagedPolicy
	byARN map[string]ManagedPolicy
}

// loadAWS reads the embedded policies, for ARNs of the partition "aws".
var loadAWS = sync.OnceValue(func() awsManaged {
	var rows []struct {
		Path, Name string
		Version    int
		Date       time.Time
		Document   json.RawMessage
	}
	if err := json.Unmarshal(awsManagedJSON, &rows); err != nil {
		panic(fmt.Sprintf("embedded managed policies: %v", err))
	}
	m := awsManaged{byARN: make(map[string]ManagedPolicy)}
	for _, r := range rows {
		p := ManagedPolicy{
			Account: "aws", Name: r.Name, Path: r.Path, ARN: "arn:aws:iam::aws:policy" + r.Path + r.Name,
			Created: r.Date, Updated: r.Date, Default: versionID(r.Version), Next: r.Version + 1,
			Versions: []PolicyVersion{{ID: versionID(r.Version), Document: string(r.Document), Created: r.Date}},
		}
		sum := sha256.Sum256([]byte(p.ARN)) // AWS's own ids are not published with the policies
		p.ID = policyPrefix + base32.StdEncoding.EncodeToString(sum[:10])
		m.list = append(m.list, p)
		m.byARN[p.ARN] = p
	}
	return m
})

func versionID(n int) string { return "v" + strconv.Itoa(n) }

func awsPolicies(partition string) []ManagedPolicy {
	list := loadAWS().list
	if partition == "aws" {
		return list
	}
	moved := make([]ManagedPolicy, len(list))
	for i, p := range list {
		moved[i] = inPartition(p, partition)
	}
	return moved
}

func awsPolicy(partition, policyARN string) (ManagedPolicy, bool) {
	if partition == "aws" {
		p, ok := loadAWS().byARN[policyARN]
		return p, ok
	}
	rest, ok := strings.CutPrefix(policyARN, "arn:"+partition+":")
	if !ok {
		return ManagedPolicy{}, false
	}
	p, ok := loadAWS().byARN["arn:aws:"+rest]
	return inPartition(p, partition), ok
}

// inPartition is p as another partition than "aws" has it: the ARNs in its document too.
func inPartition(p ManagedPolicy, partition string) ManagedPolicy {
	p.ARN = strings.Replace(p.ARN, "arn:aws:", "arn:"+partition+":", 1)
	versions := make([]PolicyVersion, len(p.Versions))
	for i, v := range p.Versions {
		v.Document = strings.ReplaceAll(v.Document, `"arn:aws:`, `"arn:`+partition+`:`)
		versions[i] = v
	}
	p.Versions = versions
	return p
}
