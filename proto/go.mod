module github.com/tenantry/tenantry/proto

go 1.26.0

require (
	buf.build/go/protovalidate v1.4.0
	cloud.google.com/go/longrunning v1.1.0
	github.com/grpc-ecosystem/grpc-gateway/v2 v2.31.0
	google.golang.org/grpc v1.85.0
	google.golang.org/protobuf v1.36.12
)
