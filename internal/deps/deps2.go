package deps

import _ "github.com/consensys/gnark-crypto/ecc/bn254/fr/poseidon2"
