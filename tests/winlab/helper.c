/* Runs a command line as a module of Windows does, and asks the service manager by its own interface.
 *
 *   helper run COMMAND-FILE FOLDER RESULT-FILE   COMMAND-FILE holds the line in UTF-16; the result is "R status", or
 *                                                "E error" where it could not be run
 *   helper query|start|stop SERVICE   prints the service as JSON
 *   helper delete SERVICE
 *   helper start_mode SERVICE auto|manual|disabled
 *   helper description|display_name SERVICE TEXT
 */
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

#define PATIENCE 60000 /* milliseconds for a service to start or stop */

static const char *STATES[] = {"unknown",         "stopped",       "start_pending", "stop_pending", "started",
                               "continue_pending", "pause_pending", "paused"};

static void print_text(const wchar_t *text)
{
    char bytes[8192];
    WideCharToMultiByte(CP_UTF8, 0, text ? text : L"", -1, bytes, sizeof bytes, NULL, NULL);
    putchar('"');
    for (char *at = bytes; *at; at++) {
        if (*at == '"' || *at == '\\')
            putchar('\\');
        if ((unsigned char)*at < 32)
            printf("\\u%04x", *at);
        else
            putchar(*at);
    }
    putchar('"');
}

static int fail(const char *what)
{
    printf("{\"error\": \"%s\", \"code\": %lu}\n", what, GetLastError());
    return 1;
}

static int run(wchar_t **words)
{
    static wchar_t line[32768];
    STARTUPINFOW start = {sizeof start};
    PROCESS_INFORMATION process;
    DWORD status;
    FILE *file = _wfopen(words[0], L"rb");

    if (!file)
        return fail("no command");
    line[fread(line, sizeof *line, 32767, file)] = 0;
    fclose(file);
    start.dwFlags = STARTF_USESTDHANDLES;
    start.hStdInput = GetStdHandle(STD_INPUT_HANDLE);
    start.hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE);
    start.hStdError = GetStdHandle(STD_ERROR_HANDLE);
    file = _wfopen(words[2], L"w");
    if (!CreateProcessW(NULL, line, NULL, NULL, TRUE, 0, NULL, *words[1] ? words[1] : NULL, &start, &process)) {
        fprintf(file, "E %lu\n", GetLastError());
    } else {
        WaitForSingleObject(process.hProcess, INFINITE);
        GetExitCodeProcess(process.hProcess, &status);
        fprintf(file, "R %lu\n", status);
    }
    fclose(file);
    return 0;
}

static int wait_for(SC_HANDLE service, DWORD state)
{
    SERVICE_STATUS_PROCESS seen;
    DWORD size, begun = GetTickCount();

    while (QueryServiceStatusEx(service, SC_STATUS_PROCESS_INFO, (BYTE *)&seen, sizeof seen, &size)) {
        if (seen.dwCurrentState == state)
            return 1;
        if (GetTickCount() - begun > PATIENCE) {
            SetLastError(ERROR_SERVICE_REQUEST_TIMEOUT);
            return 0;
        }
        Sleep(100);
    }
    return 0;
}

static int set(SC_HANDLE service, const wchar_t *what, wchar_t *value)
{
    DWORD same = SERVICE_NO_CHANGE, mode = same;
    SERVICE_DESCRIPTIONW description = {value};

    if (!wcscmp(what, L"description"))
        return ChangeServiceConfig2W(service, SERVICE_CONFIG_DESCRIPTION, &description);
    if (!wcscmp(what, L"start_mode"))
        mode = !wcscmp(value, L"manual")     ? SERVICE_DEMAND_START
               : !wcscmp(value, L"disabled") ? SERVICE_DISABLED
                                             : SERVICE_AUTO_START;
    return ChangeServiceConfigW(service, same, mode, same, NULL, NULL, NULL, NULL, NULL, NULL,
                                mode == same ? value : NULL);
}

static int show(SC_HANDLE service, const wchar_t *name)
{
    static BYTE buffer[8192], more[8192];
    QUERY_SERVICE_CONFIGW *config = (void *)buffer;
    SERVICE_DESCRIPTIONW *described = (void *)more;
    SERVICE_STATUS_PROCESS seen;
    DWORD size;

    if (!QueryServiceStatusEx(service, SC_STATUS_PROCESS_INFO, (BYTE *)&seen, sizeof seen, &size))
        return fail("QueryServiceStatusEx");
    if (!QueryServiceConfigW(service, config, sizeof buffer, &size))
        return fail("QueryServiceConfig");
    if (!QueryServiceConfig2W(service, SERVICE_CONFIG_DESCRIPTION, more, sizeof more, &size))
        return fail("QueryServiceConfig2");
    printf("{\"exists\": true, \"name\": ");
    print_text(name);
    printf(", \"description\": ");
    print_text(described->lpDescription);
    printf(", \"state\": \"%s\", \"process_id\": %lu, \"start_mode\": \"%s\", \"display_name\": ",
           STATES[seen.dwCurrentState & 7], seen.dwProcessId,
           config->dwStartType == SERVICE_AUTO_START     ? "auto"
           : config->dwStartType == SERVICE_DEMAND_START ? "manual"
                                                         : "disabled");
    print_text(config->lpDisplayName);
    printf(", \"path\": ");
    print_text(config->lpBinaryPathName);
    printf(", \"username\": ");
    print_text(config->lpServiceStartName);
    printf("}\n");
    return 0;
}

int wmain(int count, wchar_t **words)
{
    SC_HANDLE manager, service;
    SERVICE_STATUS status;

    if (count == 5 && !wcscmp(words[1], L"run"))
        return run(words + 2);
    if (count < 3)
        return 2;
    manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_ALL_ACCESS);
    if (!manager)
        return fail("OpenSCManager");
    service = OpenServiceW(manager, words[2], SERVICE_ALL_ACCESS);
    if (!service) {
        if (GetLastError() != ERROR_SERVICE_DOES_NOT_EXIST)
            return fail("OpenService");
        printf("{\"exists\": false}\n");
        return 0;
    }
    if (!wcscmp(words[1], L"start")) {
        if (!StartServiceW(service, 0, NULL) && GetLastError() != ERROR_SERVICE_ALREADY_RUNNING)
            return fail("StartService");
        if (!wait_for(service, SERVICE_RUNNING))
            return fail("the service did not start");
    } else if (!wcscmp(words[1], L"stop")) {
        if (!ControlService(service, SERVICE_CONTROL_STOP, &status) && GetLastError() != ERROR_SERVICE_NOT_ACTIVE)
            return fail("ControlService");
        if (!wait_for(service, SERVICE_STOPPED))
            return fail("the service did not stop");
    } else if (!wcscmp(words[1], L"delete")) {
        if (!DeleteService(service))
            return fail("DeleteService");
        printf("{\"exists\": false}\n");
        return 0;
    } else if (count == 4) {
        if (!set(service, words[1], words[3]))
            return fail("ChangeServiceConfig");
    }
    return show(service, words[2]);
}
