// SPDX-License-Identifier: Apache-2.0
// Wrappers for the OpenSSL macros and variadics that Swift cannot import.
#pragma once
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/md5.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/srtp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/time.h>

#include "records.h"

// A fresh key pair on P-256, NULL on failure.
static inline EVP_PKEY *shim_generate_p256(void) { return EVP_EC_gen("P-256"); }

// A fresh RSA key pair, NULL on failure.
static inline EVP_PKEY *shim_generate_rsa(size_t bits) { return EVP_RSA_gen(bits); }

// The bytes that a memory BIO holds.
static inline long shim_bio_memory(BIO *bio, char **bytes) { return BIO_get_mem_data(bio, bytes); }

// What every DTLS context of ours has: no renegotiation (RFC 8827 section 6.5), no compression (RFC 8261 section 5), no
// tickets and no session cache (a WebRTC session is never resumed), the MTU from us instead of from a socket, and the
// server's order of ciphers.
static inline void shim_ctx_configure(SSL_CTX *ctx) {
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET | SSL_OP_NO_QUERY_MTU |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_SINGLE_ECDH_USE);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
}
static inline int shim_ctx_set_versions(SSL_CTX *ctx, int lowest, int highest) {
    return SSL_CTX_set_min_proto_version(ctx, lowest) == 1 && SSL_CTX_set_max_proto_version(ctx, highest) == 1;
}
static inline int shim_ctx_set_groups(SSL_CTX *ctx, const char *list) { return (int)SSL_CTX_set1_groups_list(ctx, list); }

static inline long shim_ssl_set_mtu(SSL *ssl, long mtu) { return SSL_set_mtu(ssl, mtu); }
static inline long shim_ssl_set_max_send_fragment(SSL *ssl, long size) { return SSL_set_max_send_fragment(ssl, size); }
static inline long shim_dtls_handle_timeout(SSL *ssl) { return DTLSv1_handle_timeout(ssl); }

// The timer that OpenSSL before 3.2 hands its BIO with BIO_CTRL_DGRAM_SET_NEXT_TIMEOUT is its own field, so that writing
// to it moves the deadline; later versions hand a copy.
static inline int shim_dtls_timer_is_writable(void) { return OpenSSL_version_num() < 0x30200000UL; }
static inline int shim_timer_is_stopped(const void *timer) {
    const struct timeval *t = (const struct timeval *)timer;
    return t->tv_sec == 0 && t->tv_usec == 0;
}
// One second after 1970: stopped is zero, so this is the earliest time that counts as set and as past.
static inline void shim_timer_expire(void *timer) {
    struct timeval *t = (struct timeval *)timer;
    t->tv_sec = 1;
    t->tv_usec = 0;
}

// The name that a client asks for (RFC 6066 section 3).
static inline int shim_ssl_set_server_name(SSL *ssl, const char *name) {
    return SSL_set_tlsext_host_name(ssl, name) == 1;
}
// The certificates behind the first of a chain, which the context owns from then on.
static inline int shim_ctx_add_chain_certificate(SSL_CTX *ctx, X509 *certificate) {
    return SSL_CTX_add0_chain_cert(ctx, certificate) == 1;
}
