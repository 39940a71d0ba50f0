package log

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"cratelog/internal/mysql"
)

// memoryDatabase is what the processes of one log keep on a server of its own: what was signed, and who holds the
// lease.
var memoryDatabase = mysql.Owned{
	Purpose: "memory", Version: 1, Conns: 4,
	Schema: []string{`CREATE TABLE IF NOT EXISTS guard (
	id     TINYINT PRIMARY KEY CHECK (id = 1),
	origin BLOB NOT NULL,
	size   BIGINT NOT NULL,
	root   VARBINARY(32) NOT NULL,
	note   LONGBLOB
) ENGINE=InnoDB`, "CREATE TABLE IF NOT EXISTS `key` (" + `
	vkey  VARBINARY(3000) PRIMARY KEY,
	added BIGINT NOT NULL,
	ended BIGINT
) ENGINE=InnoDB`, `CREATE TABLE IF NOT EXISTS frozen (
	id   TINYINT PRIMARY KEY CHECK (id = 1),
	note LONGBLOB NOT NULL
) ENGINE=InnoDB`, `CREATE TABLE IF NOT EXISTS lease (
	id       TINYINT PRIMARY KEY CHECK (id = 1),
	holder   VARBINARY(64) NOT NULL,
	address  VARBINARY(2048) NOT NULL,
	epoch    BIGINT NOT NULL,
	expires  DATETIME(6) NOT NULL, -- UTC
	released BOOLEAN NOT NULL,     -- nothing that was begun with it is under way
	handed   BOOLEAN NOT NULL      -- what released was before the latest holder
) ENGINE=InnoDB`,
		"INSERT IGNORE INTO lease VALUES (1, '', '', 0, '2000-01-01', TRUE, TRUE)"},
	What: "a log's memory",
	Advice: "give the log a database of its own, on another server than the tree's, that never is a copy of what it " +
		"was before",
}

// openMemory opens the memory. It is reached when it is first asked.
func openMemory(c *Cluster, origin string) (*sql.DB, error) {
	db, err := memoryDatabase.Open(c.Memory, origin, c.Lease/4)
	if err != nil {
		return nil, fmt.Errorf("the memory: %w", err)
	}
	return db, nil
}

// errOneServer is why a log does not start.
var errOneServer = errors.New("memory and database are on the same server: who restores the one restores the other " +
	"with it, and the log would sign a second history; give the memory a server of its own")

// otherServer refuses a memory that would be restored together with the tree.
func otherServer(ctx context.Context, memory, database *sql.DB) error {
	same, err := mysql.Same(ctx, memory, database)
	if err == nil && same {
		err = errOneServer
	}
	return err
}
