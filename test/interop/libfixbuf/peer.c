/*
 * libfixbuf as the other end of IPFIX over TCP.
 *
 *   peer listen PORT SESSIONS    takes that many Transport Sessions, each to its end,
 *                                and prints their records as ipfixDump does
 *   peer export PORT COUNT       sends COUNT records, the i-th made of i as below
 */
#include <arpa/inet.h>
#include <fixbuf/public.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    uint64_t octets, packets, start, end;
    uint32_t src, dst, in, out;
    uint8_t src6[16], dst6[16];
    uint16_t sport, dport, flags;
    uint8_t proto, tos;
} flow_t;

#define COUNTERS {"octetDeltaCount", 8, 0}, {"packetDeltaCount", 8, 0}, \
    {"flowStartMilliseconds", 8, 0}, {"flowEndMilliseconds", 8, 0}
#define REST {"sourceTransportPort", 2, 0}, {"destinationTransportPort", 2, 0}, \
    {"tcpControlBits", 2, 0}, {"protocolIdentifier", 1, 0}, {"ipClassOfService", 1, 0}

/* the struct's order */
static fbInfoElementSpec_t host[] = {
    COUNTERS, {"sourceIPv4Address", 4, 0}, {"destinationIPv4Address", 4, 0},
    {"ingressInterface", 4, 0}, {"egressInterface", 4, 0},
    {"sourceIPv6Address", 16, 0}, {"destinationIPv6Address", 16, 0}, REST, FB_IESPEC_NULL};

/* what is exported */
static fbInfoElementSpec_t wire[] = {
    {"sourceIPv4Address", 4, 0}, {"destinationIPv4Address", 4, 0}, REST, COUNTERS,
    {"ingressInterface", 4, 0}, {"egressInterface", 4, 0}, FB_IESPEC_NULL};

enum { HOST_ID = 0xF000, WIRE_ID = 300 };

static void fail(const char *what, GError *err) {
    fprintf(stderr, "peer: %s: %s\n", what, err ? err->message : "?");
    exit(1);
}

static void add(fbSession_t *s, fbInfoModel_t *m, fbInfoElementSpec_t *spec, gboolean internal, uint16_t id) {
    GError *err = NULL;
    fbTemplate_t *t = fbTemplateAlloc(m);
    if (!fbTemplateAppendSpecArray(t, spec, 0xffffffff, &err) || !fbSessionAddTemplate(s, internal, id, t, &err))
        fail("template", err);
}

static void when(const char *name, uint64_t ms) {
    time_t s = (time_t)(ms / 1000);
    char text[32];
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", gmtime(&s));
    printf("(0) %s : %s.%03d\n", name, text, (int)(ms % 1000));
}

static void address(const char *name, int family, const void *a) {
    char text[INET6_ADDRSTRLEN];
    printf("(0) %s : %s\n", name, inet_ntop(family, a, text, sizeof text));
}

static void print(const flow_t *f) {
    static const uint8_t none[16];
    printf("--- data record\n");
    if (memcmp(f->src6, none, 16) != 0) {
        address("sourceIPv6Address", AF_INET6, f->src6);
        address("destinationIPv6Address", AF_INET6, f->dst6);
    } else {
        uint32_t src = htonl(f->src), dst = htonl(f->dst);
        address("sourceIPv4Address", AF_INET, &src);
        address("destinationIPv4Address", AF_INET, &dst);
    }
    printf("(0) sourceTransportPort : %d\n(0) destinationTransportPort : %d\n(0) protocolIdentifier : %d\n(0) ipClassOfService : %d\n",
           f->sport, f->dport, f->proto, f->tos);
    printf("(0) tcpControlBits : %d\n(0) octetDeltaCount : %" PRIu64 "\n(0) packetDeltaCount : %" PRIu64 "\n",
           f->flags, f->octets, f->packets);
    printf("(0) ingressInterface : %" PRIu32 "\n(0) egressInterface : %" PRIu32 "\n", f->in, f->out);
    when("flowStartMilliseconds", f->start);
    when("flowEndMilliseconds", f->end);
    fflush(stdout);
}

static void take(fBuf_t *b) {
    GError *err = NULL;
    if (!fBufSetInternalTemplate(b, HOST_ID, &err)) fail("internal template", err);
    for (;;) {
        flow_t f;
        size_t len = sizeof f;
        memset(&f, 0, sizeof f);
        if (fBufNext(b, (uint8_t *)&f, &len, &err)) {
            print(&f);
            continue;
        }
        if (g_error_matches(err, FB_ERROR_DOMAIN, FB_ERROR_EOF)) {
            g_clear_error(&err);
            return;
        }
        fail("record", err);
    }
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    GError *err = NULL;
    fbInfoModel_t *model = fbInfoModelAlloc();
    fbSession_t *session = fbSessionAlloc(model);
    fbConnSpec_t where = {.transport = FB_TCP, .host = "127.0.0.1", .svc = argv[2]};
    int n = atoi(argv[3]);
    add(session, model, host, TRUE, HOST_ID);
    if (strcmp(argv[1], "listen") == 0) {
        fbListener_t *l = fbListenerAlloc(&where, session, NULL, NULL, &err);
        if (l == NULL) fail("listener", err);
        fprintf(stderr, "listening\n");
        while (n-- > 0) {
            fBuf_t *b = fbListenerWaitNoCollectors(l, &err);
            if (b == NULL) fail("wait", err);
            take(b);
            fBufFree(b);
        }
        return 0;
    }
    add(session, model, wire, FALSE, WIRE_ID);
    fbExporter_t *e = fbExporterAllocNet(&where);
    fBuf_t *b = fBufAllocForExport(session, e);
    if (!fbSessionExportTemplates(session, &err)) fail("templates", err);
    if (!fBufSetInternalTemplate(b, HOST_ID, &err) || !fBufSetExportTemplate(b, WIRE_ID, &err)) fail("templates", err);
    for (int i = 0; i < n; i++) {
        flow_t f;
        memset(&f, 0, sizeof f);
        f.src = 0xC0000200u + (uint32_t)(i % 250) + 1;
        f.dst = 0xC6336400u + (uint32_t)(i % 199) + 1;
        f.sport = (uint16_t)(1024 + i);
        f.dport = (uint16_t)(443 + i);
        f.proto = i % 2 ? 17 : 6;
        f.tos = (uint8_t)(i % 64 * 4);
        f.flags = (uint16_t)(i % 64);
        f.octets = 1000000007ull * (uint64_t)(i + 1);
        f.packets = (uint64_t)i * 3 + 1;
        f.start = 1793696887123ull + (uint64_t)i * 1357;
        f.end = f.start + (uint64_t)(i + 1) * 11;
        f.in = (uint32_t)i + 1;
        f.out = 100000u + (uint32_t)i;
        if (!fBufAppend(b, (uint8_t *)&f, sizeof f, &err)) fail("append", err);
    }
    if (!fBufEmit(b, &err)) fail("emit", err);
    fBufFree(b);
    return 0;
}
