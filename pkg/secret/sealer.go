// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package secret

import (
	"crypto/hpke"
	"sync"
	"time"
)

// Sealer is Seal for who seals often: it uses one HPKE context to each recipient for a while, so that the public-key work, which is nine
// tenths of a seal, is done once for many values. It is safe for concurrent use, and holds nothing that outlives the process.
//
// The key that wraps a value's data key is exported from the context for the value's place (RFC 9180 section 5.3): each place has a
// key of its own, whose holder learns nothing of the others', and values open in any order and each alone. What is given up for it: who
// reads the memory of the sealing process learns the keys of the values that it sealed in the last SealerLife, where Seal forgets each at
// once. That process made those values, so it held them all in the same memory in the same time.
type Sealer struct {
	mu      sync.Mutex
	senders map[senderKey]*sharedSender
}

const (
	// SealerLife is how long a Sealer uses one context.
	SealerLife = time.Minute
	// SealerUses is how many values it seals with one context.
	SealerUses = 256

	// sharedMark in front of the encapsulated key tells a wrap under an exported key. The key itself has 32 bytes.
	sharedMark = 2
	x25519Len  = 32
	// sharedLabel keeps contexts that export apart from those that seal.
	sharedLabel = "tenantry-seal-v2"
	// maxSenders bounds what a Sealer holds; recipients are configured, so there are a handful.
	maxSenders = 2 * maxWraps
)

type senderKey struct {
	region, purpose, keyID string
	key                    [x25519Len]byte
}

type sharedSender struct {
	sender       *hpke.Sender
	encapsulated []byte // with its mark
	born         time.Time
	uses         int
}

// NewSealer makes a Sealer.
func NewSealer() *Sealer { return &Sealer{senders: map[senderKey]*sharedSender{}} }

// Seal is the function Seal at a time, with a context that is at most SealerLife old.
func (s *Sealer) Seal(now time.Time, recipients []PublicKey, aad AAD, plaintext []byte) (Sealed, error) {
	return seal(recipients, aad, plaintext, func(r PublicKey, w *Wrap, place, dek []byte) error {
		key, encapsulated, err := s.export(now, r, w, place)
		if err != nil {
			return err
		}
		defer clear(key)
		aead, err := newGCM(key)
		if err != nil {
			return err
		}
		w.Encapsulated, w.Ciphertext = encapsulated, aead.Seal(nil, nil, dek, place) //nolint:gosec // no nonce is given: newGCM draws a random one
		return nil
	})
}

// export is the wrapping key of a place, under a context to a recipient.
func (s *Sealer) export(now time.Time, r PublicKey, w *Wrap, place []byte) (key, encapsulated []byte, err error) {
	k := senderKey{region: r.Region, purpose: r.Purpose, keyID: r.KeyID}
	copy(k.key[:], r.key.Bytes())
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.senders[k]
	// Concurrent callers read their clocks in another order than they come here, so a context may be a little younger than now.
	if c == nil || c.uses >= SealerUses || now.Sub(c.born).Abs() >= SealerLife {
		enc, sender, err := hpke.NewSender(r.key, hpke.HKDFSHA256(), hpke.AES256GCM(), w.info(sharedLabel))
		if err != nil {
			return nil, nil, err
		}
		if len(s.senders) >= maxSenders {
			clear(s.senders)
		}
		c = &sharedSender{sender: sender, encapsulated: append([]byte{sharedMark}, enc...), born: now}
		s.senders[k] = c
	}
	c.uses++
	key, err = c.sender.Export(string(place), dekLen)
	return key, c.encapsulated[:len(c.encapsulated):len(c.encapsulated)], err
}

// shared reports whether a wrap is of a Sealer.
func (w Wrap) shared() bool {
	return len(w.Encapsulated) == 1+x25519Len && w.Encapsulated[0] == sharedMark
}

func openSharedWrap(k PrivateKey, w Wrap, place []byte) (dek []byte, err error) {
	recipient, err := hpke.NewRecipient(w.Encapsulated[1:], k.key, hpke.HKDFSHA256(), hpke.AES256GCM(), w.info(sharedLabel))
	if err != nil {
		return nil, err
	}
	key, err := recipient.Export(string(place), dekLen)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, nil, w.Ciphertext, place)
}
