package kv

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// sealVersion is the first byte of every sealed value: AES-256-GCM, nonce in front.
const sealVersion = 1

// keyCheck is a sealed row outside the tables that tells a wrong key before any row is read.
const keyCheck = "/kv/key"

var errSeal = errors.New("seal is broken")

// seal encrypts values, each bound to the full name of its row so that none can be moved.
type seal struct{ aead cipher.AEAD }

// newSeal derives a key for one purpose. It panics only for a key of the wrong size, which the
// types rule out.
func newSeal(key [32]byte, purpose string) *seal {
	derived, err := hkdf.Key(sha256.New, key[:], nil, "lambent kv "+purpose, 32)
	if err != nil {
		panic(err)
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return &seal{aead}
}

func (s *seal) close(full string, value []byte) []byte {
	head := 1 + s.aead.NonceSize()
	out := make([]byte, head, head+len(value)+s.aead.Overhead())
	out[0] = sealVersion
	rand.Read(out[1:head]) // never fails
	return s.aead.Seal(out, out[1:head], value, []byte(full))
}

func (s *seal) open(full string, sealed []byte) ([]byte, error) {
	head := 1 + s.aead.NonceSize()
	if len(sealed) < head || sealed[0] != sealVersion {
		return nil, errSeal
	}
	value, err := s.aead.Open(nil, sealed[1:head], sealed[head:], []byte(full))
	if err != nil {
		return nil, errSeal
	}
	return value, nil
}

// checkKey compares the store's key with the one that the state was first opened with.
func (s *Store) checkKey(ctx context.Context) error {
	check := newSeal(s.key, "key check")
	mark := string(check.close(keyCheck, nil))
	resp, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(keyCheck), "=", 0)).
		Then(clientv3.OpPut(keyCheck, mark)).
		Else(clientv3.OpGet(keyCheck)).Commit()
	if err != nil {
		return fmt.Errorf("check key: %w", err)
	}
	if resp.Succeeded {
		return nil
	}
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		if _, err := check.open(keyCheck, kv.Value); err != nil {
			return ErrKey
		}
	}
	return nil
}
