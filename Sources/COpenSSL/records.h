// SPDX-License-Identifier: Apache-2.0
// Protection of single DTLS 1.2 records with the keys of a finished handshake: what SSL_write and SSL_read do for
// application data, without the layers around it.
#pragma once
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <string.h>

enum {
    // Type, version, epoch, sequence number, length (RFC 6347 section 4.1).
    SHIM_RECORD_HEADER = 13,
    // Of every cipher here (RFC 5288 section 3, RFC 7905 section 2).
    SHIM_RECORD_TAG = 16,
};

struct shim_records {
    EVP_CIPHER_CTX *seal;
    EVP_CIPHER_CTX *open;
    // What GCM takes of the key block, before the explicit part.
    uint8_t seal_salt[4];
    // Bytes of explicit nonce in a record: 8 for AES-GCM (RFC 5288 section 3), 0 for ChaCha20-Poly1305 (RFC 7905).
    int nonce;
};

static inline void shim_records_free(struct shim_records *records) {
    if (records == NULL) return;
    EVP_CIPHER_CTX_free(records->seal);
    EVP_CIPHER_CTX_free(records->open);
    OPENSSL_clear_free(records, sizeof(*records));
}

// key_block of RFC 5246 section 6.3.
static inline int shim_records_key_block(SSL *ssl, const EVP_MD *digest, uint8_t *block, size_t length) {
    uint8_t secret[SSL_MAX_MASTER_KEY_LENGTH], client[SSL3_RANDOM_SIZE], server[SSL3_RANDOM_SIZE];
    char label[] = "key expansion";
    size_t size = SSL_SESSION_get_master_key(SSL_get_session(ssl), secret, sizeof(secret));
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_TLS1_PRF, NULL);
    EVP_KDF_CTX *context = kdf == NULL ? NULL : EVP_KDF_CTX_new(kdf);
    int done = 0;
    if (context != NULL && size > 0 && SSL_get_client_random(ssl, client, sizeof(client)) == sizeof(client) &&
        SSL_get_server_random(ssl, server, sizeof(server)) == sizeof(server)) {
        OSSL_PARAM parameters[] = {
            OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)EVP_MD_get0_name(digest), 0),
            OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SECRET, secret, size),
            OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, label, sizeof(label) - 1),
            OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, server, sizeof(server)),
            OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, client, sizeof(client)),
            OSSL_PARAM_construct_end()};
        done = EVP_KDF_derive(context, block, length, parameters) == 1;
    }
    OPENSSL_cleanse(secret, sizeof(secret));
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kdf);
    return done;
}

// The protection of both directions of a session whose handshake is complete; NULL where its cipher is none of AES-GCM
// and ChaCha20-Poly1305, or on failure.
static inline struct shim_records *shim_records_new(SSL *ssl) {
    const SSL_CIPHER *suite = SSL_get_current_cipher(ssl);
    const EVP_CIPHER *cipher = NULL;
    int key = 32, salt = 4, nonce = 8;
    switch (suite == NULL ? 0 : SSL_CIPHER_get_cipher_nid(suite)) {
    case NID_aes_128_gcm: cipher = EVP_aes_128_gcm(); key = 16; break;
    case NID_aes_256_gcm: cipher = EVP_aes_256_gcm(); break;
    case NID_chacha20_poly1305: cipher = EVP_chacha20_poly1305(); salt = 12; nonce = 0; break;
    default: return NULL;
    }
    uint8_t block[2 * 32 + 2 * 12];
    struct shim_records *records = (struct shim_records *)OPENSSL_zalloc(sizeof(*records));
    if (records == NULL) return NULL;
    // Client's key, server's key, client's IV, server's IV.
    int own = SSL_is_server(ssl) ? 1 : 0, other = 1 - own;
    uint8_t *salts = block + 2 * key;
    records->nonce = nonce;
    records->seal = EVP_CIPHER_CTX_new();
    records->open = EVP_CIPHER_CTX_new();
    int done = records->seal != NULL && records->open != NULL &&
        shim_records_key_block(ssl, SSL_CIPHER_get_handshake_digest(suite), block, (size_t)(2 * key + 2 * salt)) &&
        EVP_EncryptInit_ex(records->seal, cipher, NULL, block + own * key, NULL) == 1 &&
        EVP_DecryptInit_ex(records->open, cipher, NULL, block + other * key, NULL) == 1 &&
        EVP_CIPHER_CTX_ctrl(records->seal, EVP_CTRL_AEAD_SET_IV_FIXED, salt, salts + own * salt) == 1 &&
        EVP_CIPHER_CTX_ctrl(records->open, EVP_CTRL_AEAD_SET_IV_FIXED, salt, salts + other * salt) == 1;
    memcpy(records->seal_salt, salts + own * salt, 4);
    OPENSSL_cleanse(block, sizeof(block));
    if (done) return records;
    shim_records_free(records);
    return NULL;
}

// Has the next record carry the explicit nonce after this one; each further one counts on.
static inline int shim_records_continue(struct shim_records *records, const uint8_t *last_nonce) {
    if (records->nonce == 0) return 1;
    uint8_t iv[12];
    memcpy(iv, records->seal_salt, 4);
    memcpy(iv + 4, last_nonce, 8);
    for (int i = 11; i >= 4 && ++iv[i] == 0; i--) {}
    // -1 sets the nonce whole instead of its fixed part alone.
    return EVP_CIPHER_CTX_ctrl(records->seal, EVP_CTRL_AEAD_SET_IV_FIXED, -1, iv) == 1;
}

// The additional data of a record (RFC 5246 section 6.2.3.3), with the length as it stands before the cipher: OpenSSL
// takes off what it adds.
static inline int shim_records_additional(EVP_CIPHER_CTX *context, const uint8_t *header, size_t length) {
    uint8_t bytes[13];
    memcpy(bytes, header + 3, 8);
    memcpy(bytes + 8, header, 3);
    bytes[11] = (uint8_t)(length >> 8);
    bytes[12] = (uint8_t)length;
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TLS1_AAD, bytes, sizeof(bytes)),
        OSSL_PARAM_construct_end()};
    return EVP_CIPHER_CTX_set_params(context, parameters);
}

// Makes a record of `length` bytes of plaintext. `record` has room for the header, the nonce, the plaintext and the
// tag. `number` is the epoch in the upper 16 bits and the sequence number below. Answers the record's length, 0 on
// failure.
static inline size_t shim_records_seal(
    struct shim_records *records, uint8_t *record, uint8_t type, uint64_t number, const void *plaintext,
    size_t length) {
    size_t fragment = (size_t)records->nonce + length + SHIM_RECORD_TAG;
    record[0] = type;
    record[1] = 0xFE;  // DTLS 1.2
    record[2] = 0xFD;
    for (int i = 0; i < 8; i++) record[3 + i] = (uint8_t)(number >> (56 - 8 * i));
    record[11] = (uint8_t)(fragment >> 8);
    record[12] = (uint8_t)fragment;
    uint8_t *body = record + SHIM_RECORD_HEADER;
    memcpy(body + records->nonce, plaintext, length);
    if (!shim_records_additional(records->seal, record, (size_t)records->nonce + length)) return 0;
    if (EVP_Cipher(records->seal, body, body, (unsigned)fragment) <= 0) return 0;
    return SHIM_RECORD_HEADER + fragment;
}

// Takes a record's protection off. `plaintext` has room for the whole fragment. Answers the length of the plaintext, -1
// where the record is forged or damaged.
static inline int shim_records_open(
    struct shim_records *records, const uint8_t *record, size_t length, uint8_t *plaintext) {
    size_t fragment = length - SHIM_RECORD_HEADER, added = (size_t)records->nonce + SHIM_RECORD_TAG;
    if (length < SHIM_RECORD_HEADER + added) return -1;
    memcpy(plaintext, record + SHIM_RECORD_HEADER, fragment);
    if (!shim_records_additional(records->open, record, fragment)) return -1;
    if (EVP_Cipher(records->open, plaintext, plaintext, (unsigned)fragment) < 0) return -1;
    memmove(plaintext, plaintext + records->nonce, fragment - added);
    return (int)(fragment - added);
}
