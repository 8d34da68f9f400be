/*
 * Times libfixbuf on IPFIX messages: decoding each record into a struct, and
 * encoding T20 records from one. The messages come from a file, each with its
 * length in front (32 bits, little-endian), the first one with the templates.
 *
 *   bench FILE ROUNDS [encode]
 *
 * Prints "decode N" and "encode N", the best round's nanoseconds a record.
 */
#include <fixbuf/public.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    uint64_t octets, packets, start, end, roctets, rpackets;
    uint32_t src, dst, in, out, ent;
    uint16_t sport, dport, flags, vlan, rflags;
    uint8_t proto, tos, reason, pad[7];
    fbVarfield_t app;
} flow_t;

/* the struct's order */
static fbInfoElementSpec_t host[] = {
    {"octetDeltaCount", 8, 0}, {"packetDeltaCount", 8, 0},
    {"flowStartMilliseconds", 8, 0}, {"flowEndMilliseconds", 8, 0},
    {"reverseOctetDeltaCount", 8, 0}, {"reversePacketDeltaCount", 8, 0},
    {"sourceIPv4Address", 4, 0}, {"destinationIPv4Address", 4, 0},
    {"ingressInterface", 4, 0}, {"egressInterface", 4, 0}, {"benchField", 4, 0},
    {"sourceTransportPort", 2, 0}, {"destinationTransportPort", 2, 0},
    {"tcpControlBits", 2, 0}, {"vlanId", 2, 0}, {"reverseTcpControlBits", 2, 0},
    {"protocolIdentifier", 1, 0}, {"ipClassOfService", 1, 0}, {"flowEndReason", 1, 0},
    {"paddingOctets", 7, 0}, {"applicationName", 0, 0}, FB_IESPEC_NULL};

/* the wire's order, T20 */
static fbInfoElementSpec_t wire[] = {
    {"sourceIPv4Address", 4, 0}, {"destinationIPv4Address", 4, 0},
    {"sourceTransportPort", 2, 0}, {"destinationTransportPort", 2, 0},
    {"protocolIdentifier", 1, 0}, {"octetDeltaCount", 8, 0}, {"packetDeltaCount", 8, 0},
    {"flowStartMilliseconds", 8, 0}, {"flowEndMilliseconds", 8, 0}, {"tcpControlBits", 2, 0},
    {"ingressInterface", 4, 0}, {"egressInterface", 4, 0}, {"ipClassOfService", 1, 0},
    {"flowEndReason", 1, 0}, {"vlanId", 2, 0}, {"reverseOctetDeltaCount", 8, 0},
    {"reversePacketDeltaCount", 8, 0}, {"reverseTcpControlBits", 2, 0},
    {"benchField", 4, 0}, {"applicationName", 0, 0}, FB_IESPEC_NULL};

static fbInfoElement_t own[] = {
    FB_IE_INIT_FULL("benchField", 32473, 100, 4, FB_IE_F_ENDIAN, 0, 0, FB_UINT_32, NULL), FB_IE_NULL};

enum { HOST_ID = 0xF000, WIRE_ID = 300 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void fail(GError *err) {
    fprintf(stderr, "bench: %s\n", err ? err->message : "?");
    exit(1);
}

static fbTemplate_t *template(fbInfoModel_t *m, fbInfoElementSpec_t *spec) {
    GError *err = NULL;
    fbTemplate_t *t = fbTemplateAlloc(m);
    if (!fbTemplateAppendSpecArray(t, spec, 0xffffffff, &err)) fail(err);
    return t;
}

static uint64_t sum;

/* drain reads the records of one message. */
static uint64_t drain(fBuf_t *b, flow_t *r) {
    GError *err = NULL;
    for (uint64_t n = 0;; n++) {
        size_t len = sizeof *r;
        if (!fBufNext(b, (uint8_t *)r, &len, &err)) {
            if (!g_error_matches(err, FB_ERROR_DOMAIN, FB_ERROR_BUFSZ) &&
                !g_error_matches(err, FB_ERROR_DOMAIN, FB_ERROR_EOM) &&
                !g_error_matches(err, FB_ERROR_DOMAIN, FB_ERROR_EOF))
                fail(err);
            g_clear_error(&err);
            return n;
        }
        sum += r->octets + r->src + r->app.len;
    }
}

static void decode(fbInfoModel_t *m, uint8_t *all, size_t size, int rounds, flow_t *r) {
    GError *err = NULL;
    fbSession_t *s = fbSessionAlloc(m);
    if (!fbSessionAddTemplate(s, TRUE, HOST_ID, template(m, host), &err)) fail(err);
    fBuf_t *b = fBufAllocForCollection(s, NULL);
    fBufSetAutomaticMode(b, FALSE);
    if (!fBufSetInternalTemplate(b, HOST_ID, &err)) fail(err);
    double best = 0;
    for (int i = 0; i <= rounds; i++) {
        uint64_t records = 0;
        double start = now();
        for (size_t p = 0; p + 4 <= size;) {
            uint32_t len;
            memcpy(&len, all + p, 4);
            p += 4;
            /* the templates only once, in the round that is not timed */
            if (p > 4 || i == 0) {
                fBufSetBuffer(b, all + p, len);
                records += drain(b, r);
            }
            p += len;
        }
        double ns = (now() - start) / (double)(records ? records : 1);
        if (i > 0 && (best == 0 || ns < best)) best = ns;
    }
    printf("decode %.2f\n", best);
}

static void encode(fbInfoModel_t *m, int rounds, flow_t *r) {
    enum { RECORDS = 20000 };
    GError *err = NULL;
    fbSession_t *s = fbSessionAlloc(m);
    fbSessionAddTemplate(s, TRUE, HOST_ID, template(m, host), &err);
    fbSessionAddTemplate(s, FALSE, WIRE_ID, template(m, wire), &err);
    FILE *null = fopen("/dev/null", "w");
    fBuf_t *b = fBufAllocForExport(s, fbExporterAllocFP(null));
    if (!fbSessionExportTemplates(s, &err)) fail(err);
    if (!fBufSetInternalTemplate(b, HOST_ID, &err) || !fBufSetExportTemplate(b, WIRE_ID, &err)) fail(err);
    r->app.buf = (uint8_t *)"https";
    r->app.len = 5;
    double best = 0;
    for (int i = 0; i < rounds; i++) {
        double start = now();
        for (int k = 0; k < RECORDS; k++) {
            r->octets = (uint64_t)k;
            r->sport = (uint16_t)k;
            if (!fBufAppend(b, (uint8_t *)r, sizeof *r, &err)) fail(err);
        }
        double ns = (now() - start) / RECORDS;
        if (best == 0 || ns < best) best = ns;
    }
    printf("encode %.2f\n", best);
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: bench FILE ROUNDS [encode]\n");
        return 2;
    }
    FILE *f = fopen(argv[1], "rb");
    if (!f) {
        perror(argv[1]);
        return 1;
    }
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    uint8_t *all = malloc((size_t)size);
    if (!all || fread(all, 1, (size_t)size, f) != (size_t)size) return 1;
    int rounds = atoi(argv[2]);
    flow_t r;
    memset(&r, 0, sizeof r);
    fbInfoModel_t *m = fbInfoModelAlloc();
    fbInfoModelAddElementArray(m, own);
    decode(m, all, (size_t)size, rounds, &r);
    if (argc > 3) encode(m, rounds, &r);
    return sum == 1; /* keeps the sum */
}
