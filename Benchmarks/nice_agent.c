// SPDX-License-Identifier: Apache-2.0
// One agent of libnice for `dreamer nat lab --agent libnice`: JSON lines on standard input and output.
//
//     cc -O2 -o nice_agent nice_agent.c $(pkg-config --cflags --libs nice)
#include <nice/agent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static NiceAgent *agent;
static guint stream;
static GMainLoop *loop;
static gint64 began;
static gboolean connected, has_data, uses_tcp;
static char input[65536];
static size_t input_length;

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void tell(const char *event, const char *more) {
    printf("{\"event\":\"%s\",\"time\":%lld%s}\n", event, now(), more);
    fflush(stdout);
}

static const char *kind(NiceCandidate *candidate) {
    static const char *names[] = {"host", "srflx", "prflx", "relay"};
    return candidate->type < 4 ? names[candidate->type] : "";
}

static gboolean send_data(gpointer unused) {
    char data[1200];
    (void)unused;
    memset(data, 22, sizeof data);
    nice_agent_send(agent, stream, 1, sizeof data, data);
    return TRUE;
}

static void on_receive(NiceAgent *a, guint s, guint component, guint length, gchar *bytes, gpointer unused) {
    (void)a, (void)s, (void)component, (void)unused;
    if (has_data || length == 0 || bytes[0] != 22) return;
    has_data = TRUE;
    tell("data", "");
}

static void on_gathered(NiceAgent *a, guint s, gpointer unused) {
    gchar *ufrag = NULL, *password = NULL;
    (void)a, (void)s, (void)unused;
    nice_agent_get_local_credentials(agent, stream, &ufrag, &password);
    GString *more = g_string_new("");
    g_string_append_printf(more, ",\"ufrag\":\"%s\",\"pwd\":\"%s\",\"gathering\":%lld,\"candidates\":[", ufrag, password,
                           now() - began);
    GSList *candidates = nice_agent_get_local_candidates(agent, stream, 1);
    gboolean first = TRUE;
    for (GSList *next = candidates; next; next = next->next) {
        NiceCandidate *candidate = next->data;
        if ((candidate->transport != NICE_CANDIDATE_TRANSPORT_UDP) != uses_tcp) continue;
        gchar *line = nice_agent_generate_local_candidate_sdp(agent, candidate);
        g_string_append_printf(more, "%s\"%s\"", first ? "" : ",", g_str_has_prefix(line, "a=") ? line + 2 : line);
        first = FALSE;
        g_free(line);
    }
    g_string_append(more, "]");
    tell("description", more->str);
    g_string_free(more, TRUE);
    g_slist_free_full(candidates, (GDestroyNotify)nice_candidate_free);
    g_free(ufrag);
    g_free(password);
}

static void on_state(NiceAgent *a, guint s, guint component, guint state, gpointer unused) {
    (void)a, (void)s, (void)component, (void)unused;
    if (state == NICE_COMPONENT_STATE_FAILED) tell("failed", "");
    if (connected || (state != NICE_COMPONENT_STATE_CONNECTED && state != NICE_COMPONENT_STATE_READY)) return;
    connected = TRUE;
    char more[100] = "";
    NiceCandidate *local, *remote;
    if (nice_agent_get_selected_pair(agent, stream, 1, &local, &remote))
        snprintf(more, sizeof more, ",\"local\":\"%s\",\"remote\":\"%s\"", kind(local), kind(remote));
    tell("connected", more);
    send_data(NULL);
    g_timeout_add(10, send_data, NULL);
}

// The text of the member of that name; descriptions have nothing that is escaped. The caller frees it.
static char *member(const char *text, const char *name) {
    char pattern[64];
    snprintf(pattern, sizeof pattern, "\"%s\":\"", name);
    const char *start = strstr(text, pattern);
    if (!start) {
        snprintf(pattern, sizeof pattern, "\"%s\": \"", name);
        start = strstr(text, pattern);
    }
    if (!start) return NULL;
    start += strlen(pattern);
    const char *end = strchr(start, '"');
    return end ? strndup(start, end - start) : NULL;
}

static void accept_description(char *text) {
    char *ufrag = member(text, "ufrag"), *password = member(text, "pwd");
    if (ufrag && password) nice_agent_set_remote_credentials(agent, stream, ufrag, password);
    GSList *candidates = NULL;
    for (char *next = strstr(text, "\"candidate:"); next; next = strstr(next, "\"candidate:")) {
        char *end = strchr(++next, '"');
        if (!end) break;
        gchar *line = g_strdup_printf("a=%.*s", (int)(end - next), next);
        NiceCandidate *candidate = nice_agent_parse_remote_candidate_sdp(agent, stream, line);
        if (candidate) candidates = g_slist_append(candidates, candidate);
        g_free(line);
        next = end;
    }
    nice_agent_set_remote_candidates(agent, stream, 1, candidates);
    g_slist_free_full(candidates, (GDestroyNotify)nice_candidate_free);
    free(ufrag);
    free(password);
    tell("accepted", "");
}

static gboolean on_input(GIOChannel *channel, GIOCondition condition, gpointer unused) {
    (void)channel, (void)condition, (void)unused;
    ssize_t count = read(0, input + input_length, sizeof input - input_length - 1);
    if (count <= 0) {
        g_main_loop_quit(loop);
        return FALSE;
    }
    input_length += count;
    input[input_length] = 0;
    char *end = strchr(input, '\n');
    if (end) {
        *end = 0;
        accept_description(input);
        input_length = 0;
    }
    return TRUE;
}

static gboolean split(char *text, char **host, guint *port) {
    char *colon = strrchr(text, ':');
    if (!colon) return FALSE;
    *colon = 0;
    *host = text;
    *port = atoi(colon + 1);
    return TRUE;
}

int main(int count, char **words) {
    const char *user = "", *password = "";
    char *stun = NULL, *turn = NULL, *address = NULL;
    gboolean controlling = FALSE;
    for (int index = 1; index + 1 < count; index += 2) {
        char *value = words[index + 1];
        if (!strcmp(words[index], "--role")) controlling = !strcmp(value, "controlling");
        if (!strcmp(words[index], "--address")) address = value;
        // Candidates for TCP and no others.
        if (!strcmp(words[index], "--tcp")) uses_tcp = atoi(value);
        if (!strcmp(words[index], "--stun")) stun = value;
        if (!strcmp(words[index], "--turn")) turn = value;
        if (!strcmp(words[index], "--user")) user = value;
        if (!strcmp(words[index], "--password")) password = value;
    }
    loop = g_main_loop_new(NULL, FALSE);
    agent = nice_agent_new(g_main_loop_get_context(loop), NICE_COMPATIBILITY_RFC5245);
    char *host;
    guint port;
    g_object_set(agent, "controlling-mode", controlling, "ice-tcp", uses_tcp, "ice-udp", !uses_tcp, "upnp",
                 FALSE, NULL);
    if (stun && split(stun, &host, &port)) g_object_set(agent, "stun-server", host, "stun-server-port", port, NULL);
    if (address) {
        NiceAddress local;
        nice_address_init(&local);
        if (nice_address_set_from_string(&local, address)) nice_agent_add_local_address(agent, &local);
    }
    stream = nice_agent_add_stream(agent, 1);
    if (turn) {
        NiceRelayType type = !strncmp(turn, "udp:", 4) ? NICE_RELAY_TYPE_TURN_UDP : NICE_RELAY_TYPE_TURN_TCP;
        if (split(turn + 4, &host, &port)) nice_agent_set_relay_info(agent, stream, 1, host, port, user, password, type);
    }
    g_signal_connect(agent, "candidate-gathering-done", G_CALLBACK(on_gathered), NULL);
    g_signal_connect(agent, "component-state-changed", G_CALLBACK(on_state), NULL);
    nice_agent_attach_recv(agent, stream, 1, g_main_loop_get_context(loop), on_receive, NULL);
    g_io_add_watch(g_io_channel_unix_new(0), G_IO_IN | G_IO_HUP, on_input, NULL);
    began = now();
    nice_agent_gather_candidates(agent, stream);
    g_main_loop_run(loop);
    return 0;
}
