// peer is the other end in tests: the kernel's one-to-many SCTP sockets by the
// old and the new form of the control messages (RFC 6458), and DTLS over SCTP
// (RFC 6083) with OpenSSL's DTLS and exporter.
//
//   peer send HOST PORT COUNT
//   peer receive PORT COUNT
//   peer connect HOST PORT COUNT CA CERT KEY
//   peer accept PORT COUNT CA CERT KEY
//
// What it receives it prints as "message STREAM PPID OCTETS FIRST-WORDS".
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sctp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef SOL_SCTP
#define SOL_SCTP 132
#endif

#define STREAMS 4
#define LABEL "EXPORTER_DTLS_OVER_SCTP"

static void die(const char *what) {
  perror(what);
  ERR_print_errors_fp(stderr);
  exit(1);
}

static void say(const char *format, ...) {
  va_list args;
  va_start(args, format);
  vprintf(format, args);
  va_end(args);
  printf("\n");
  fflush(stdout);
}

static void set(int fd, int option, const void *value, socklen_t size) {
  if (setsockopt(fd, SOL_SCTP, option, value, size) < 0) die("setsockopt");
}

static void subscribe(int fd, int type) {
  struct sctp_event e = {.se_type = type, .se_on = 1};
  set(fd, SCTP_EVENT, &e, sizeof e);
}

static struct sockaddr_in address(const char *host, const char *port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
  if (host && inet_pton(AF_INET, host, &a.sin_addr) != 1) die(host);
  return a;
}

static int new_socket(int type) {
  int fd = socket(AF_INET, type, IPPROTO_SCTP);
  if (fd < 0) die("socket");
  struct sctp_initmsg init = {.sinit_num_ostreams = STREAMS, .sinit_max_instreams = 64};
  set(fd, SCTP_INITMSG, &init, sizeof init);
  int one = 1;
  set(fd, SCTP_NODELAY, &one, sizeof one);
  set(fd, SCTP_RECVRCVINFO, &one, sizeof one);
  subscribe(fd, SCTP_ASSOC_CHANGE);
  subscribe(fd, SCTP_SHUTDOWN_EVENT);
  return fd;
}

// fill makes message i, of 10 to some 3000 octets.
static size_t fill(char *b, size_t most, int i) {
  size_t n = snprintf(b, most, "message %d ", i);
  size_t want = n + (i * 97) % 3000;
  memset(b + n, 'x', want - n);
  return want;
}

// ---- the plain ends, one-to-many

// send_one sends message i, or with end the association's end.
static void send_one(int fd, struct sockaddr_in *to, int i, int end) {
  char data[4096];
  size_t n = end ? 0 : fill(data, sizeof data, i);
  char control[CMSG_SPACE(sizeof(struct sctp_sndrcvinfo))] = {0};
  struct iovec v = {data, n};
  struct msghdr m = {.msg_name = to, .msg_namelen = sizeof *to, .msg_iov = &v, .msg_iovlen = 1,
                     .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *c = CMSG_FIRSTHDR(&m);
  c->cmsg_level = SOL_SCTP;
  c->cmsg_type = SCTP_SNDRCV;
  c->cmsg_len = CMSG_LEN(sizeof(struct sctp_sndrcvinfo));
  struct sctp_sndrcvinfo *info = (struct sctp_sndrcvinfo *)CMSG_DATA(c);
  info->sinfo_stream = i % STREAMS;
  if (end) info->sinfo_flags = SCTP_EOF;
  if (sendmsg(fd, &m, 0) < 0) die("sendmsg");
}

// receive_one returns the octets of a message, 0 at the association's end.
static size_t receive_one(int fd, char *data, size_t most, unsigned *stream, unsigned *ppid) {
  size_t have = 0;
  for (;;) {
    char control[256];
    struct iovec v = {data + have, most - have};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(fd, &m, 0);
    if (n < 0) die("recvmsg");
    if (m.msg_flags & MSG_NOTIFICATION) {
      union sctp_notification *e = (union sctp_notification *)(data + have);
      if (e->sn_header.sn_type == SCTP_ASSOC_CHANGE) {
        say("state %d", e->sn_assoc_change.sac_state);
        if (e->sn_assoc_change.sac_state == SCTP_SHUTDOWN_COMP || e->sn_assoc_change.sac_state == SCTP_COMM_LOST) return 0;
      }
      continue;
    }
    if (n == 0) return 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
      if (c->cmsg_level == SOL_SCTP && c->cmsg_type == SCTP_RCVINFO) {
        struct sctp_rcvinfo *info = (struct sctp_rcvinfo *)CMSG_DATA(c);
        *stream = info->rcv_sid;
        *ppid = ntohl(info->rcv_ppid);
      }
    have += n;
    if (m.msg_flags & MSG_EOR) return have;
  }
}

static void print(unsigned stream, unsigned ppid, const char *data, size_t n) {
  say("message %u %u %zu %.*s", stream, ppid, n, (int)(n < 24 ? n : 24), data);
}

static void plain_send(const char *host, const char *port, int count) {
  int fd = new_socket(SOCK_SEQPACKET);
  struct sockaddr_in to = address(host, port);
  for (int i = 0; i < count; i++) send_one(fd, &to, i, 0);
  send_one(fd, &to, 0, 1);
  char data[1 << 16];
  unsigned stream, ppid;
  while (receive_one(fd, data, sizeof data, &stream, &ppid)) print(stream, ppid, data, 0);
  say("closed");
}

static void plain_receive(const char *port, int count) {
  int fd = new_socket(SOCK_SEQPACKET);
  struct sockaddr_in at = address(NULL, port);
  if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 4) < 0) die("listen");
  say("listening");
  static char data[1 << 17];
  unsigned stream = 0, ppid = 0;
  size_t n;
  while ((n = receive_one(fd, data, sizeof data, &stream, &ppid))) {
    print(stream, ppid, data, n);
    if (--count == 0) say("all");
  }
  say("closed");
}

// ---- RFC 6083

static struct {
  int fd;
  SSL *ssl;
  int installed;
  unsigned stream, received_on, ppid;
} d;

static void demand_auth(int fd) {
  struct sctp_assoc_value on = {.assoc_value = 1};
  set(fd, SCTP_AUTH_SUPPORTED, &on, sizeof on);
  struct { struct sctp_hmacalgo h; unsigned short ids[2]; } algorithms = {{.shmac_num_idents = 2}, {SCTP_AUTH_HMAC_ID_SHA256, SCTP_AUTH_HMAC_ID_SHA1}};
  set(fd, SCTP_HMAC_IDENT, &algorithms, 4 + 2 * 2);
  struct sctp_authchunk data = {.sauth_chunk = 0}, forward = {.sauth_chunk = 0xC0};
  set(fd, SCTP_AUTH_CHUNK, &data, sizeof data);
  set(fd, SCTP_AUTH_CHUNK, &forward, sizeof forward);
}

// install gives the kernel key 1 as soon as OpenSSL has a master secret.
static void install(void) {
  SSL_SESSION *session = SSL_get_session(d.ssl);
  unsigned char master[64];
  if (d.installed || !session || SSL_SESSION_get_master_key(session, master, sizeof master) == 0) return;
  struct { struct sctp_authkey k; unsigned char key[64]; } a = {{.sca_keynumber = 1, .sca_keylength = 64}, {0}};
  if (SSL_export_keying_material(d.ssl, a.k.sca_key, 64, LABEL, strlen(LABEL), NULL, 0, 0) != 1) return;
  set(d.fd, SCTP_AUTH_KEY, &a, sizeof a.k + 64);
  d.installed = 1;
}

static void drain(void) {
  struct sctp_status s;
  do {
    socklen_t size = sizeof s;
    memset(&s, 0, sizeof s);
    if (getsockopt(d.fd, SOL_SCTP, SCTP_STATUS, &s, &size) < 0) return; // it is over
    if (s.sstat_unackdata) usleep(1000);
  } while (s.sstat_unackdata);
}

static void send_record(const char *record, size_t n) {
  char control[CMSG_SPACE(sizeof(struct sctp_sndinfo))] = {0};
  struct iovec v = {(void *)record, n};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *c = CMSG_FIRSTHDR(&m);
  c->cmsg_level = SOL_SCTP;
  c->cmsg_type = SCTP_SNDINFO;
  c->cmsg_len = CMSG_LEN(sizeof(struct sctp_sndinfo));
  struct sctp_sndinfo *info = (struct sctp_sndinfo *)CMSG_DATA(c);
  info->snd_sid = record[0] == 23 ? d.stream : 0;
  info->snd_flags = SCTP_SACK_IMMEDIATELY;
  if (sendmsg(d.fd, &m, MSG_NOSIGNAL) < 0) die("send");
}

static int bio_write(BIO *b, const char *data, int n) {
  (void)b;
  for (int at = 0; at + 13 <= n;) {
    int size = 13 + ((unsigned char)data[at + 11] << 8 | (unsigned char)data[at + 12]);
    if (data[at] == 20 || data[at] == 21) drain();
    if (data[at] == 20) {
      install();
      usleep(20000); // until the other end has its key
    }
    send_record(data + at, size);
    if (data[at] == 20) {
      struct sctp_authkeyid key = {.scact_keynumber = 1};
      set(d.fd, SCTP_AUTH_ACTIVE_KEY, &key, sizeof key);
    }
    at += size;
  }
  return n;
}

static int bio_read(BIO *b, char *data, int n) {
  (void)b;
  install();
  return receive_one(d.fd, data, n, &d.received_on, &d.ppid);
}

static long bio_ctrl(BIO *b, int command, long number, void *p) {
  (void)b, (void)number, (void)p;
  switch (command) {
  case BIO_CTRL_FLUSH:
  case BIO_CTRL_DGRAM_SET_NEXT_TIMEOUT:
    return 1;
  case BIO_CTRL_DGRAM_QUERY_MTU:
  case BIO_CTRL_DGRAM_GET_FALLBACK_MTU:
    return 1 << 14;
  }
  return 0;
}

static void handshake(int fd, int client, const char *ca, const char *cert, const char *key) {
  SSL_CTX *ctx = SSL_CTX_new(client ? DTLS_client_method() : DTLS_server_method());
  SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
  SSL_CTX_set_options(ctx, SSL_OP_NO_QUERY_MTU);
  if (SSL_CTX_load_verify_locations(ctx, ca, NULL) != 1 || SSL_CTX_use_certificate_chain_file(ctx, cert) != 1 ||
      SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
    die("certificates");
  BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sctp");
  BIO_meth_set_write(method, bio_write);
  BIO_meth_set_read(method, bio_read);
  BIO_meth_set_ctrl(method, bio_ctrl);
  BIO *bio = BIO_new(method);
  BIO_set_init(bio, 1);
  d.fd = fd;
  d.ssl = SSL_new(ctx);
  SSL_set_bio(d.ssl, bio, bio);
  SSL_set_mtu(d.ssl, 1 << 14);
  if ((client ? SSL_connect(d.ssl) : SSL_accept(d.ssl)) != 1) die("handshake");
  struct sctp_authkeyid old = {.scact_keynumber = 0};
  set(fd, SCTP_AUTH_DELETE_KEY, &old, sizeof old);
  X509 *peer = SSL_get1_peer_certificate(d.ssl);
  char name[256];
  X509_NAME_oneline(X509_get_subject_name(peer), name, sizeof name);
  say("established %s with %s", SSL_get_cipher(d.ssl), name);
}

static void write_all(int count) {
  char data[4096];
  for (int i = 0; i < count; i++) {
    d.stream = i % STREAMS;
    if (SSL_write(d.ssl, data, fill(data, sizeof data, i)) <= 0) die("SSL_write");
  }
}

static void read_all(int count) {
  static char data[1 << 15];
  int n;
  while ((n = SSL_read(d.ssl, data, sizeof data)) > 0) {
    print(d.received_on, d.ppid, data, n);
    if (--count == 0) say("all");
  }
  say("%s", SSL_get_error(d.ssl, n) == SSL_ERROR_ZERO_RETURN ? "close_notify" : "ended");
}

static void dtls_connect(char **a) {
  int fd = new_socket(SOCK_STREAM);
  demand_auth(fd);
  struct sockaddr_in to = address(a[0], a[1]);
  if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) die("connect");
  handshake(fd, 1, a[3], a[4], a[5]);
  write_all(atoi(a[2]));
  SSL_shutdown(d.ssl);
  read_all(0);
  shutdown(fd, SHUT_WR);
  say("closed");
}

static void dtls_accept(char **a) {
  int fd = new_socket(SOCK_STREAM);
  demand_auth(fd);
  struct sockaddr_in at = address(NULL, a[0]);
  if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 4) < 0) die("listen");
  say("listening");
  int one = accept(fd, NULL, NULL);
  if (one < 0) die("accept");
  handshake(one, 0, a[2], a[3], a[4]);
  read_all(atoi(a[1]));
  SSL_shutdown(d.ssl);
  shutdown(one, SHUT_WR);
  say("closed");
}

int main(int n, char **a) {
  if (n == 5 && !strcmp(a[1], "send")) plain_send(a[2], a[3], atoi(a[4]));
  else if (n == 4 && !strcmp(a[1], "receive")) plain_receive(a[2], atoi(a[3]));
  else if (n == 8 && !strcmp(a[1], "connect")) dtls_connect(a + 2);
  else if (n == 7 && !strcmp(a[1], "accept")) dtls_accept(a + 2);
  else return 2;
  return 0;
}
