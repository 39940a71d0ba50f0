package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// serverCertificate writes server.pem and server.key, for one address, which vouches for itself.
func (w *world) serverCertificate(address string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "interop"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IPAddresses: []net.IP{net.ParseIP(address)}, IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writeFiles(w.run, map[string]string{
		"server.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})),
		"server.key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
}

// sunlightFiles makes what sunlight wants to find.
func (w *world) sunlightFiles(ctx context.Context) error {
	if err := w.serverCertificate("127.0.0.1"); err != nil {
		return err
	}
	root, err := os.ReadFile(filepath.Join(w.run, "server.pem"))
	if err != nil {
		return err
	}
	if err := writeFiles(w.run, map[string]string{"sun-roots.pem": string(root)}); err != nil {
		return err
	}
	if err := run(ctx, w.run, nil, w.path("sunlight-keygen"), "-f", "sun-ct.seed"); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.run, "sun.db"))
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, "CREATE TABLE checkpoints (logID BLOB PRIMARY KEY, body BLOB NOT NULL) STRICT")
	return err
}
