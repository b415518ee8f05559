/* Launcher of the stand-in: runs the command line behind its own name as its child, and ends with its status. When the
 * launcher is ended, however that is done, its child is too. The vendor's launcher is a native program of the same name. */
#include <windows.h>
#include <shellapi.h>
#include <stdio.h>

static wchar_t *behind_own_name(wchar_t *line)
{
    BOOL quoted = FALSE;
    while (*line && (quoted || (*line != L' ' && *line != L'\t'))) {
        if (*line == L'"')
            quoted = !quoted;
        line++;
    }
    while (*line == L' ' || *line == L'\t')
        line++;
    return line;
}

static int fail(const char *what)
{
    fprintf(stderr, "dynamsoftdlsx: %s: error %lu\n", what, GetLastError());
    return 1;
}

int main(void)
{
    STARTUPINFOW start = {sizeof start};
    PROCESS_INFORMATION child;
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits = {0};
    DWORD status;
    HANDLE job = CreateJobObjectW(NULL, NULL);
    wchar_t *command = behind_own_name(GetCommandLineW());

    if (!*command) {
        fprintf(stderr, "dynamsoftdlsx: must get the command to run\n");
        return 2;
    }
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
    if (!job || !SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof limits))
        return fail("no job");
    start.dwFlags = STARTF_USESTDHANDLES;
    start.hStdInput = GetStdHandle(STD_INPUT_HANDLE);
    start.hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE);
    start.hStdError = GetStdHandle(STD_ERROR_HANDLE);
    if (!CreateProcessW(NULL, command, NULL, NULL, TRUE, CREATE_SUSPENDED, NULL, NULL, &start, &child))
        return fail("cannot run the command");
    if (!AssignProcessToJobObject(job, child.hProcess))
        return fail("no job for the child");
    ResumeThread(child.hThread);
    WaitForSingleObject(child.hProcess, INFINITE);
    GetExitCodeProcess(child.hProcess, &status);
    return (int)status;
}
