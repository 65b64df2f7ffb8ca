// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"fmt"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tenantry/tenantry/pkg/localserver"
)

// A Redis Cluster refuses commands over keys of several slots, and wants each lane read for itself. One node with all slots is
// enough to see both.
func TestOnACluster(t *testing.T) {
	t.Parallel()
	localserver.TestRedis(t) // skips where there is no server
	found, err := localserver.Find()
	if found.Redis == "" {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if port > 55_000 { // the cluster's bus listens 10,000 above
		port -= 20_000
	}
	l.Close()                                                                                                               // only its number was wanted
	cmd := exec.Command(found.Redis, "--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", // found by us
		"--cluster-enabled", "yes", "--cluster-config-file", t.TempDir()+"/nodes.conf", "--maxmemory-policy", "noeviction")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() // gone otherwise
		cmd.Wait()         // killed
	})
	node := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", port), MaxRetries: -1})
	defer node.Close() // the server goes too
	eventually(t, "the node answers", func() bool { return node.Ping(t.Context()).Err() == nil })
	if err := node.Do(t.Context(), "CLUSTER", "ADDSLOTSRANGE", 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cluster is up", func() bool { return node.Set(t.Context(), "probe", "1", time.Second).Err() == nil })

	address := fmt.Sprintf("cluster+redis://127.0.0.1:%d", port)
	rdb, err := ConnectWriter(address)
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close() // the server goes too
	w := &world{t: t, rdb: rdb, writer: NewWriter(rdb)}
	w.begin()
	if err := w.writer.CheckServer(t.Context()); err != nil {
		t.Error(err)
	}
	org := w.org()
	reader, err := Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close() // as above
	c := w.cache(func(cfg *Config) { cfg.Redis = reader })
	for i := range 20 {
		doc := w.tenant(org, fmt.Sprintf("t%d", i))
		mustLookup(t, c, doc.GetHosts()[0])
		doc = next(doc)
		w.publish(w.item(doc))
		w.eventually("the change is served", func() bool { return mustLookup(t, c, doc.GetHosts()[0]).ConfigVersion == 2 })
	}
	w.heartbeat(0, 0)
	w.eventually("heartbeats of all lanes", c.heard)
	c.Stop()
}
