// SPDX-License-Identifier: Apache-2.0
// A policy has nested C structures with pointers that only have to live through the call; it is easier built here.
#pragma once
#include <srtp2/srtp.h>
#include <string.h>

// A session for every SSRC of one direction. `key` is the master key followed by the master salt (RFC 3711 section 3.2.1),
// in the lengths of `profile`, a number of RFC 5764 section 4.1.2 or RFC 7714 section 14.2.
static inline srtp_err_status_t shim_srtp_create(
    srtp_t *session, unsigned int profile, int is_inbound, unsigned char *key, unsigned long window) {
    srtp_policy_t policy;
    memset(&policy, 0, sizeof policy);
    srtp_err_status_t status = srtp_crypto_policy_set_from_profile_for_rtp(&policy.rtp, (srtp_profile_t)profile);
    if (status != srtp_err_status_ok) return status;
    status = srtp_crypto_policy_set_from_profile_for_rtcp(&policy.rtcp, (srtp_profile_t)profile);
    if (status != srtp_err_status_ok) return status;
    policy.ssrc.type = is_inbound ? ssrc_any_inbound : ssrc_any_outbound;
    policy.key = key;
    policy.window_size = window;
    return srtp_create(session, &policy);
}
