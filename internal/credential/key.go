package credential

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"lambent.dev/lambent/internal/kv"
)

// The states of an access key, in AWS's words.
const (
	Active   = "Active"
	Inactive = "Inactive"
)

// An AccessKey is a long-term key of a user or, with no user, of the account.
type AccessKey struct {
	ID, Secret   string
	Account      string
	User, UserID string // "" for the root key
	Status       string
	Created      time.Time
}

// rootRow says which key is the account's root key.
type rootRow struct{ AccessKeyID string }

// NewAccessKey makes an active key, which is not stored yet. Both names are empty for a root key.
func (s *Store) NewAccessKey(account, user, userID string) (AccessKey, error) {
	secret, err := newSecret()
	if err != nil {
		return AccessKey{}, err
	}
	id, err := keyID("AKIA", account, nil)
	return AccessKey{
		ID: id, Secret: secret, Account: account, User: user, UserID: userID,
		Status: Active, Created: s.now().UTC().Truncate(time.Second),
	}, err
}

// InsertAccessKey stores a new key.
func (s *Store) InsertAccessKey(k AccessKey) kv.Op { return s.keys.Create(k.Account, k.ID, k) }

// SetStatus makes a key active or inactive.
func (s *Store) SetStatus(row kv.Row[AccessKey], status string) kv.Op {
	k := row.Value
	k.Status = status
	return s.keys.Update(row, k)
}

// DeleteAccessKey removes a key.
func (s *Store) DeleteAccessKey(row kv.Row[AccessKey]) kv.Op { return s.keys.Delete(row) }

// AccessKeys are the keys of a user, oldest first.
func (s *Store) AccessKeys(account, userID string) ([]kv.Row[AccessKey], error) {
	rows, err := s.keys.List(account, "", "", 0)
	if err != nil {
		return nil, err
	}
	var own []kv.Row[AccessKey]
	for _, row := range rows {
		if row.Value.UserID == userID {
			own = append(own, row)
		}
	}
	return own, nil
}

// Root returns the account's root key, and makes it if there is none yet.
func (s *Store) Root(ctx context.Context, account string) (key AccessKey, created bool, err error) {
	row, err := s.roots.Get(account, "root")
	if errors.Is(err, kv.ErrNotFound) {
		if key, err = s.NewAccessKey(account, "", ""); err != nil {
			return AccessKey{}, false, err
		}
		_, err = s.kv.Txn(ctx, s.roots.Create(account, "root", rootRow{key.ID}), s.InsertAccessKey(key))
		if err == nil {
			return key, true, nil
		}
		if !errors.Is(err, kv.ErrConflict) {
			return AccessKey{}, false, fmt.Errorf("create root key: %w", err)
		}
		row, err = s.roots.Get(account, "root") // another node was first
	}
	if err != nil {
		return AccessKey{}, false, fmt.Errorf("read root key: %w", err)
	}
	k, err := s.keys.Get(account, row.Value.AccessKeyID)
	if err != nil {
		return AccessKey{}, false, fmt.Errorf("read root key: %w", err)
	}
	return k.Value, false, nil
}

// RotateRoot replaces the account's root key; the old one is refused from then on.
func (s *Store) RotateRoot(ctx context.Context, account string) (AccessKey, error) {
	row, err := s.roots.Get(account, "root")
	if err != nil {
		return AccessKey{}, fmt.Errorf("read root key: %w", err)
	}
	old, err := s.keys.Get(account, row.Value.AccessKeyID)
	if err != nil {
		return AccessKey{}, fmt.Errorf("read root key: %w", err)
	}
	key, err := s.NewAccessKey(account, "", "")
	if err != nil {
		return AccessKey{}, err
	}
	_, err = s.kv.Txn(ctx, s.roots.Update(row, rootRow{key.ID}), s.keys.Delete(old), s.InsertAccessKey(key))
	if err != nil {
		return AccessKey{}, fmt.Errorf("rotate root key: %w", err)
	}
	return key, nil
}

// newSecret makes a secret of 40 characters.
func newSecret() (string, error) {
	var b [30]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(b[:]), nil
}

// keyID makes an access key ID: a prefix and 80 bits, of which 40 are the account and the others
// are taken from entropy, or from the system's generator if that is nil.
//
// AWS: its IDs hold the account in the same place, which is why GetAccessKeyInfo needs no table.
// Here it also spares Lookup an index over all accounts.
func keyID(prefix, account string, entropy []byte) (string, error) {
	n, err := strconv.ParseUint(account, 10, 40)
	if err != nil {
		return "", fmt.Errorf("account %q: %w", account, err)
	}
	b := make([]byte, 10)
	if entropy == nil {
		if _, err := rand.Read(b); err != nil {
			return "", err
		}
	} else {
		copy(b, entropy)
	}
	const mask = uint64(1)<<40 - 1
	head := binary.BigEndian.Uint64(b) &^ (mask << 23)
	binary.BigEndian.PutUint64(b, head|1<<63|n<<23)
	return prefix + base32.StdEncoding.EncodeToString(b), nil
}

// AccountOf is the account an access key ID belongs to.
func AccountOf(accessKeyID string) (string, bool) {
	if len(accessKeyID) != 20 || accessKeyID[0] != 'A' {
		return "", false
	}
	b, err := base32.StdEncoding.DecodeString(accessKeyID[4:])
	if err != nil {
		return "", false
	}
	account := binary.BigEndian.Uint64(b) >> 23 & (uint64(1)<<40 - 1)
	if account > 999_999_999_999 {
		return "", false
	}
	return fmt.Sprintf("%012d", account), true
}
