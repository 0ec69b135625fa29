package credential

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"
)

// A Session is the temporary credentials of a role.
type Session struct {
	AccessKeyID, Secret, Token string
	Expires                    time.Time
}

// A claim is what a token says. Times are seconds since the epoch.
type claim struct {
	Account string `json:"a"`
	Role    string `json:"r"`
	RoleID  string `json:"i"`
	Session string `json:"s"`
	Issued  int64  `json:"t"`
	Expires int64  `json:"e"`
}

const (
	tokenVersion = 1
	saltSize     = 16
	maxToken     = 4096 // bytes; ours have about 300
)

// Session makes credentials of a role that end after ttl. It writes nothing.
func (s *Store) Session(account, roleName, roleID, sessionName string, ttl time.Duration) (Session, error) {
	now := s.now()
	expires := now.Add(ttl).UTC().Truncate(time.Second)
	token, err := s.seal(claim{
		Account: account, Role: roleName, RoleID: roleID, Session: sessionName,
		Issued: now.Unix(), Expires: expires.Unix(),
	})
	if err != nil {
		return Session{}, fmt.Errorf("seal session token: %w", err)
	}
	id, secret, err := s.keyOf(account, token)
	if err != nil {
		return Session{}, err
	}
	return Session{AccessKeyID: id, Secret: secret, Token: token, Expires: expires}, nil
}

// session verifies a token and the key ID that came with it.
func (s *Store) session(accessKeyID, token string) (Credential, error) {
	c, err := s.unseal(token)
	if err != nil {
		return Credential{}, ErrInvalidToken
	}
	id, secret, err := s.keyOf(c.Account, token)
	if err != nil || subtle.ConstantTimeCompare([]byte(id), []byte(accessKeyID)) != 1 {
		return Credential{}, ErrInvalidToken
	}
	if s.now().Unix() >= c.Expires {
		return Credential{}, ErrExpired
	}
	return Credential{
		Secret: secret, Account: c.Account, Kind: Role, Name: c.Role, ID: c.RoleID, SessionName: c.Session,
		Issued: time.Unix(c.Issued, 0).UTC(), Expires: time.Unix(c.Expires, 0).UTC(),
	}, nil
}

// keyOf derives key ID and secret from a token.
func (s *Store) keyOf(account, token string) (id, secret string, err error) {
	h := hmac.New(sha256.New, s.deriving)
	h.Write([]byte("secret\x00" + token))
	secret = base64.StdEncoding.EncodeToString(h.Sum(nil)[:30])
	h.Reset()
	h.Write([]byte("id\x00" + token))
	id, err = keyID("ASIA", account, h.Sum(nil)[:10])
	return id, secret, err
}

// seal encrypts a claim: version, salt, AES-256-GCM under a key of this salt alone. A key used
// once needs no nonce, and so no bound on how many tokens a region may make.
func (s *Store) seal(c claim) (string, error) {
	plain, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	head := make([]byte, 1+saltSize, 1+saltSize+len(plain)+16)
	head[0] = tokenVersion
	if _, err := rand.Read(head[1:]); err != nil {
		return "", err
	}
	aead, err := s.aead(head)
	if err != nil {
		return "", err
	}
	sealed := aead.Seal(head, make([]byte, aead.NonceSize()), plain, head)
	return base64.StdEncoding.EncodeToString(sealed), nil
}

func (s *Store) unseal(token string) (claim, error) {
	if len(token) > maxToken {
		return claim{}, ErrInvalidToken
	}
	// Strict: two spellings of one token would be two secrets of one session.
	raw, err := base64.StdEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) < 1+saltSize || raw[0] != tokenVersion {
		return claim{}, ErrInvalidToken
	}
	head := raw[:1+saltSize]
	aead, err := s.aead(head)
	if err != nil {
		return claim{}, err
	}
	plain, err := aead.Open(nil, make([]byte, aead.NonceSize()), raw[len(head):], head)
	if err != nil {
		return claim{}, ErrInvalidToken
	}
	var c claim
	if err := json.Unmarshal(plain, &c); err != nil {
		return claim{}, ErrInvalidToken
	}
	return c, nil
}

func (s *Store) aead(head []byte) (cipher.AEAD, error) {
	h := hmac.New(sha256.New, s.sealing)
	h.Write(head)
	block, err := aes.NewCipher(h.Sum(nil))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
