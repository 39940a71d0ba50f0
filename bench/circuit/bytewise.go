package main

import (
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/std/math/uints"
)

// bytewise is SHA-1's compression over blocks of 16 words, the straightforward way:
// 32-bit words of four bytes, with table lookups for each byte of an operation.
type bytewise struct {
	Words [][16]frontend.Variable
}

func (c *bytewise) Define(api frontend.API) error {
	u, err := uints.New[uints.U32](api)
	if err != nil {
		return err
	}
	h := uints.NewU32Array([]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0})
	k := uints.NewU32Array([]uint32{0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6})
	for _, block := range c.Words {
		var w [80]uints.U32
		for t := range w {
			if t < 16 {
				w[t] = u.ValueOf(block[t])
			} else {
				w[t] = u.Lrot(u.Xor(w[t-3], w[t-8], w[t-14], w[t-16]), 1)
			}
		}
		s := [5]uints.U32(h)
		for t := range w {
			var f uints.U32
			switch t / 20 {
			case 0:
				f = u.Xor(u.And(s[1], s[2]), u.And(u.Not(s[1]), s[3]))
			case 2:
				f = u.Xor(u.And(s[1], s[2]), u.And(s[1], s[3]), u.And(s[2], s[3]))
			default:
				f = u.Xor(s[1], s[2], s[3])
			}
			next := u.Add(u.Lrot(s[0], 5), f, s[4], k[t/20], w[t])
			s = [5]uints.U32{next, s[0], u.Lrot(s[1], 30), s[2], s[3]}
		}
		for i := range h {
			h[i] = u.Add(h[i], s[i])
		}
	}
	return nil
}
