// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Command protodeps writes the third-party .proto files that Tenantry's contracts import into a directory.
//
// It needs no registry: the descriptors are linked into the generated Go packages imported below, so the text that buf
// compiles against is printed from the very revisions that go.mod pins. The files under google/protobuf are left out,
// because buf carries them itself.
//
// Usage: protodeps DIRECTORY. The directory is replaced.
package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/jhump/protoreflect/v2/protoprint"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	// Each import registers its .proto files, and with them everything those import.
	_ "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	_ "cloud.google.com/go/longrunning/autogen/longrunningpb"
	_ "github.com/grpc-ecosystem/grpc-gateway/v2/protoc-gen-openapiv2/options"
	_ "google.golang.org/genproto/googleapis/api/annotations"
	_ "google.golang.org/genproto/googleapis/rpc/errdetails"
	_ "google.golang.org/genproto/googleapis/rpc/status"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: protodeps DIRECTORY")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "protodeps:", err)
		os.Exit(1)
	}
}

// write replaces dir by one .proto file for each registered file. It prints to a neighbouring directory first, so that a
// failure half-way leaves the previous files in place.
func write(dir string) error {
	var files []protoreflect.FileDescriptor
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		// grpc/ is what the linked gRPC runtime registers for its own logs; no contract imports it.
		if !strings.HasPrefix(f.Path(), "google/protobuf/") && !strings.HasPrefix(f.Path(), "grpc/") {
			files = append(files, f)
		}
		return true
	})
	slices.SortFunc(files, func(a, b protoreflect.FileDescriptor) int { return cmp.Compare(a.Path(), b.Path()) })

	next := strings.TrimRight(dir, "/") + ".next"
	if err := os.RemoveAll(next); err != nil {
		return err
	}
	printer := protoprint.Printer{Compact: true}
	if err := printer.PrintProtosToFileSystem(files, next); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(next, dir)
}
